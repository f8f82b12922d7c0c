"""The process of a copier, as control holds it: a child, and a socket to talk to it."""

import asyncio
import contextlib
import os
import socket
import sys
from pathlib import Path
from typing import Final, Self

from agent.copier.protocol import LONGEST, Message, Setup, encode

ENDING: Final = 2.0
"""Seconds that a copier gets to die; it is killed, so more means that it sits in the kernel."""


class Child:
    """A running copier. It dies with this process, and when the socket closes."""

    def __init__(
        self, process: asyncio.subprocess.Process | None, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.process = process
        self.reader = reader
        self._writer = writer

    @classmethod
    async def start(cls, setup: Setup) -> Self:
        """Start a copier. Raises OSError."""
        ours, theirs = socket.socketpair()
        with theirs:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "agent.copier", str(theirs.fileno()), str(os.getpid())),
                stdin=asyncio.subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )
        child = cls(process, *await asyncio.open_connection(sock=ours, limit=LONGEST))
        child.say(setup)
        return child

    @property
    def is_alive(self) -> bool:
        return self.process is not None and self.process.returncode is None

    @property
    def resident(self) -> int:
        """How many bytes of memory it holds; 0 when it is gone."""
        if self.process is not None:
            with contextlib.suppress(OSError):
                pages = Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]
                return int(pages) * os.sysconf("SC_PAGESIZE")
        return 0

    def say(self, message: Message) -> None:
        self._writer.write(encode(message))

    def weigh(self, niceness: int) -> None:
        """Give all its threads a niceness above our own. Raises PermissionError for less than it has had."""
        assert self.process is not None
        with contextlib.suppress(ProcessLookupError):  # its end shows when it is asked
            os.setpriority(os.PRIO_PGRP, self.process.pid, os.getpriority(os.PRIO_PROCESS, 0) + niceness)

    async def exit_code(self) -> int | None:
        """Return what a copier that closed its side ended with: its end is known a moment later."""
        if self.process is None:
            return None
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.process.wait(), ENDING)
        return self.process.returncode

    def kill(self) -> None:
        self._writer.close()
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                self.process.kill()

    async def end(self) -> None:
        """Kill it, whatever it does, and return when it is gone."""
        self.kill()
        await self.exit_code()
