"""Counts the Slurm commands that are run, whoever runs them."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import PurePath
from typing import Final

from agent.processes import ChildTimedOut, Finished, Processes

PROGRAMS: Final = {"squeue", "scancel"}
STATES: Final = {"State=DRAIN": "drain", "State=UNDRAIN": "undrain"}


class CountedProcesses:
    """Runs children with `processes`, and tells `count` (`Metrics.slurm_command`) each one's command and outcome."""

    def __init__(self, processes: Processes, count: Callable[[str, str], None]) -> None:
        self._processes = processes
        self._count = count

    async def run(self, argv: Sequence[str], *, seconds: float, env: Mapping[str, str] | None = None) -> Finished:
        outcome = "failed"
        try:
            finished = await self._processes.run(argv, seconds=seconds, env=env)
            outcome = "ok" if finished.code == 0 else "failed"
        except ChildTimedOut:
            outcome = "timed-out"
            raise
        finally:
            self._count(command(argv), outcome)
        return finished


def command(argv: Sequence[str]) -> str:
    """Return the name of a Slurm command in the metrics."""
    if (program := PurePath(argv[0]).name) in PROGRAMS:
        return program
    match argv[1:]:
        case ["show", what, *_]:
            return f"show-{what}"
        case ["update", *settings]:
            return next((STATES[text] for text in settings if text in STATES), "update")
        case ["requeue", *_]:
            return "requeue"
    return "other"
