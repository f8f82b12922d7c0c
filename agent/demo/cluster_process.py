"""A command that runs inside a node of the lab, seen from outside."""

import os
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import IO


class NodeProcess(subprocess.Popen[str]):
    """A Popen whose signals reach the command itself, not the nsenter that carries it.

    `wait` returns what the command returned; its death by a signal is passed on as such.
    """

    def __init__(
        self,
        argv: Sequence[str],
        *,
        stdin: int | IO[str] | None = None,
        stdout: int | IO[str] | None = None,
        stderr: int | IO[str] | None = None,
    ) -> None:
        stdin = subprocess.DEVNULL if stdin is None else stdin
        super().__init__(argv, stdin=stdin, stdout=stdout, stderr=stderr, text=True, start_new_session=True)

    @property
    def host_pid(self) -> int:
        """The command's process id as the host sees it; nsenter's own as long as it has not forked."""
        try:
            children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text()
        except (FileNotFoundError, ProcessLookupError):
            return self.pid
        return int(children.split()[0]) if children.split() else self.pid

    def send_signal(self, sig: int) -> None:
        if self.poll() is None:
            os.kill(self.host_pid, sig)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)
