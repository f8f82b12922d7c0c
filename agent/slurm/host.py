"""Questions to this machine's file system that may never be answered: /opt/slurm can be a hard NFS mount."""

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor
from pathlib import Path
from typing import TypeVar

from agent.processes import ChildTimedOut, Processes
from agent.slurm.errors import SlurmUnavailable
from agent.value import value

T = TypeVar("T")

TIME_LIMIT = 3.0
"""Seconds for one question; a local disk answers in milliseconds."""


@value
class Host:
    """The file system under `root`, asked in children and in `executor`, never by the loop itself."""

    processes: Processes
    executor: Executor
    root: Path = Path("/")
    seconds: float = TIME_LIMIT

    def at(self, path: str) -> Path:
        """Return an absolute path of the host under our root."""
        return self.root / path.lstrip("/")

    async def can_run(self, program: Path) -> bool:
        """Tell whether there is such a program. Raises SlurmUnavailable when its file system does not answer."""
        # In a child, because a thread that is stuck in the kernel would keep the agent from ever exiting.
        try:
            done = await self.processes.run(["test", "-x", str(program)], seconds=self.seconds)
        except ChildTimedOut as error:
            hint = "is its NFS server gone?"
            raise SlurmUnavailable("look for", str(program), error.detail, hint=hint) from error
        return done.code == 0

    async def ask(self, question: Callable[[], T]) -> T:
        """Run `question`, which reads /proc or /etc, in the executor. Raises SlurmUnavailable when it gets stuck."""
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self.seconds):
                return await loop.run_in_executor(self.executor, question)
        except TimeoutError as error:
            raise SlurmUnavailable("look at", str(self.root), f"no answer within {self.seconds:g} s") from error

    async def text(self, path: str) -> str:
        """Return what a small file of /etc holds; "" when it can't be read."""
        return await self.ask(lambda: _text(self.at(path)))


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
