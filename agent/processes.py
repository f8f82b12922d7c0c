"""Child processes that are waited for no longer than they deserve.

A child can sit in the kernel where no signal reaches it (a command on a hard NFS mount: ParallelCluster's
/opt/slurm). Such a child is killed and abandoned: it is never joined.
"""

import asyncio
import contextlib
import os
from collections.abc import Mapping, Sequence
from typing import Final, Protocol

from agent.errors import PermanentError, TransientError
from agent.value import value

LAST_MOMENT: Final = 0.5
"""Seconds for a killed child to be gone."""


@value
class Finished:
    """What a child left behind."""

    code: int
    out: str
    err: str


class ChildTimedOut(TransientError):
    """The child did not end in time; it was killed, and may still do what it was told."""


class ChildMissing(PermanentError):
    """There is no such program."""


class Processes(Protocol):
    async def run(self, argv: Sequence[str], *, seconds: float, env: Mapping[str, str] | None = None) -> Finished:
        """Run `argv` without a shell, LC_ALL=C, stdin empty; return its exit code and output (bad UTF-8 replaced).

        `env` is added to the agent's own environment. Raises ChildTimedOut after `seconds`, ChildMissing when the
        program can't be started. When cancelled, the child is killed.
        """
        ...


class SystemProcesses:
    async def run(self, argv: Sequence[str], *, seconds: float, env: Mapping[str, str] | None = None) -> Finished:
        command = " ".join(argv)
        try:
            child = await asyncio.create_subprocess_exec(
                *argv,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                env={**os.environ, **(env or {}), "LC_ALL": "C"},
                start_new_session=True,
            )
        except OSError as error:
            raise ChildMissing("run", command, error.strerror or repr(error)) from error
        try:
            async with asyncio.timeout(seconds):
                out, err = await child.communicate()
        except TimeoutError as error:
            await _end(child)
            raise ChildTimedOut("run", command, f"no answer within {seconds:g} s") from error
        finally:
            if child.returncode is None:
                _abandon(child)
        return Finished(
            code=child.returncode or 0,
            out=out.decode("utf-8", "replace"),
            err=err.decode("utf-8", "replace"),
        )


async def _end(child: asyncio.subprocess.Process) -> None:
    """Kill the child and wait a moment: only one that is stuck in the kernel is still there then."""
    with contextlib.suppress(ProcessLookupError):
        child.kill()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(LAST_MOMENT):
            await child.wait()


def _abandon(child: asyncio.subprocess.Process) -> None:
    with contextlib.suppress(ProcessLookupError):
        child.kill()
    transport = child._transport  # type: ignore[attr-defined]  # noqa: SLF001 - the only way to let its pipes go
    transport.close()
