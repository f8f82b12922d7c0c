"""Control's end of a copier: started when there is something to copy, ended when there is not."""

import asyncio
import contextlib
import os
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final, Protocol, TypeVar

from agent.copier.protocol import (
    LONGEST,
    Copied,
    Finish,
    Message,
    Record,
    Recorded,
    Refused,
    Save,
    Saved,
    Scan,
    Scanned,
    Until,
    decode,
    encode,
)
from agent.errors import PermanentError, TransientError

Listener = Callable[[Message], None]
Answer = TypeVar("Answer", Copied, Saved, Recorded, Scanned)

ENDING: Final = 2.0
"""Seconds that a copier gets to die; it is killed, so more means that it sits in the kernel."""


class CopierGone(TransientError):
    """The copier died. What it had sent is in its receipts: another one goes on from there."""


class CopierRefused(PermanentError):
    """The copier can't do what it was asked."""


class Copier(Protocol):
    """One copier at a time, one question at a time. What it tells meanwhile goes to the listener."""

    async def save(self, command: Save, listen: Listener) -> Copied:
        """Copy; start the copier if need be. Raises CopierGone, CopierRefused."""
        ...

    def move(self, until: float | None) -> None:
        """Have what is being saved be done by another time than its command said; nothing where nothing is."""
        ...

    async def finish(self, listen: Listener) -> Saved:
        """Commit what was copied. Raises CopierGone (also when none was started), CopierRefused."""
        ...

    async def scan(self, command: Scan, listen: Listener) -> Scanned:
        """Look at the tree; start the copier if need be. Raises CopierGone, CopierRefused."""
        ...

    async def record(self, command: Record, listen: Listener) -> None:
        """Store a document; start the copier if need be. Raises CopierGone, CopierRefused."""
        ...

    async def end(self) -> None:
        """End the copier, whatever it does."""
        ...


class CopierProcess:
    """A child process that speaks `agent.copier.protocol` over a socketpair; it goes into the cgroup `group`."""

    def __init__(self, *, config: Path | None, niceness: int, group: Path | None = None) -> None:
        self._config = config
        self._niceness = niceness
        self._group = group
        self._child: asyncio.subprocess.Process | None = None
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def save(self, command: Save, listen: Listener) -> Copied:
        return await self._ask(command, Copied, listen)

    def move(self, until: float | None) -> None:
        if self._writer is not None:
            self._writer.write(encode(Until(until=until)))

    async def finish(self, listen: Listener) -> Saved:
        if self._writer is None:
            raise CopierGone("ask", "the copier", "it is not running")
        return await self._ask(Finish(), Saved, listen)

    async def scan(self, command: Scan, listen: Listener) -> Scanned:
        return await self._ask(command, Scanned, listen)

    async def record(self, command: Record, listen: Listener) -> None:
        await self._ask(command, Recorded, listen)

    async def end(self) -> None:
        child, writer = self._child, self._writer
        self._child = self._reader = self._writer = None
        if writer is not None:
            writer.close()
        if child is not None:
            with contextlib.suppress(ProcessLookupError):
                child.kill()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(child.wait(), ENDING)

    async def _ask(self, question: Message, answer: type[Answer], listen: Listener) -> Answer:
        try:
            reader, writer = await self._open()
            writer.write(encode(question))
            while (line := await reader.readline()).endswith(b"\n"):  # a line that was cut by its death is none
                message = decode(line)
                if isinstance(message, answer):
                    return message
                if isinstance(message, Refused) and message.asked == type(question).__name__:
                    raise CopierRefused("ask", "the copier", message.what, hint=message.hint)
                listen(message)
        except OSError as error:
            await self.end()
            raise CopierGone("ask", "the copier", error.strerror or repr(error)) from error
        code = await self._exit_code()
        await self.end()
        raise CopierGone("ask", "the copier", f"it died ({code})", hint="see the journal for its last words")

    async def _exit_code(self) -> int | None:
        """Return what a copier that closed its side ended with: its end is known a moment later."""
        child = self._child
        if child is None:
            return None
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(child.wait(), ENDING)
        return child.returncode

    async def _open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._reader is None or self._writer is None:
            ours, theirs = socket.socketpair()
            with theirs:
                self._child = await self._spawn(theirs.fileno())
            self._reader, self._writer = await asyncio.open_connection(sock=ours, limit=LONGEST)
        return self._reader, self._writer

    async def _spawn(self, descriptor: int) -> asyncio.subprocess.Process:
        config = [] if self._config is None else ["--config", str(self._config)]
        group = [] if self._group is None else ["--cgroup", str(self._group)]
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "agent", "copier", *config),
            *("--descriptor", str(descriptor), "--parent", str(os.getpid()), "--nice", str(self._niceness)),
            *group,
            stdin=asyncio.subprocess.DEVNULL,
            pass_fds=[descriptor],
            start_new_session=True,
        )
