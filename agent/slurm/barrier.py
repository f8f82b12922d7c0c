"""Whether Slurm's Epilog calls us here: then a node is COMPLETING, and nobody takes it, until a job's files are saved.

The configuration names files or patterns, often on a hard NFS mount: they are looked into by children.
"""

from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from re import compile as pattern
from typing import Final

from agent.processes import ChildTimedOut, Processes
from agent.slurm.errors import SlurmUnavailable
from agent.slurm.parse import config_seconds
from agent.value import value

SECONDS: Final = 2.5
"""For one look."""
OURS: Final = "hpc-agent"
"""What a Prolog or Epilog that calls the agent contains."""

_WILD: Final = pattern(r"[*?\[]")
_LIMITS: Final = ("EpilogTimeout", "PrologEpilogTimeout")


@value
class Barrier:
    """`seconds` is Slurm's own limit for an Epilog, past which it drains the node; None when it has none."""

    present: bool
    detail: str
    seconds: float | None = None


async def find_barrier(values: Mapping[str, str], processes: Processes) -> Barrier:
    """Return the barrier that `scontrol show config` and the files it names give.

    Unknown is no barrier: without one, jobs are requeued only after their files are committed.
    """
    limits = [found for name in _LIMITS if (found := config_seconds(values.get(name, ""))) is not None]
    seconds = min(limits, default=None)
    try:
        if await calls_us(scripts(values, "Epilog"), processes):
            return Barrier(present=True, detail="the Epilog waits for the agent", seconds=seconds)
    except SlurmUnavailable as error:
        return Barrier(present=False, detail=f"no barrier: {error.subject}: {error.detail}", seconds=seconds)
    return Barrier(present=False, detail="no barrier: no Epilog of Slurm calls the agent", seconds=seconds)


def scripts(values: Mapping[str, str], kind: str) -> list[str]:
    """Return the paths and patterns of the Prolog or Epilog: `Epilog = /a,/b/*`, or `Epilog[0] = /a` and so on."""
    found = [text for key, text in values.items() if key == kind or key.startswith(f"{kind}[")]
    return [path.strip() for text in found for path in text.split(",") if path.strip()]


async def calls_us(paths: Sequence[str], processes: Processes) -> bool:
    """Tell whether one of the files calls us. Raises SlurmUnavailable when their file system does not answer."""
    for path in paths:
        argv = ["grep", "-ls", "-e", OURS, "--", path]
        if _WILD.search(path):
            pure = PurePosixPath(path)
            argv = ["grep", "-Rls", f"--include={pure.name}", "-e", OURS, "--", str(pure.parent)]
        try:
            done = await processes.run(argv, seconds=SECONDS)
        except ChildTimedOut as error:
            raise SlurmUnavailable("look into", path, error.detail, hint="is its NFS server gone?") from error
        if done.out.strip():
            return True
    return False
