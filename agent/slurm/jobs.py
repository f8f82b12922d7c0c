"""The jobs of our node, as squeue shows them, so that no user can write into another job's line.

Two questions: first the columns that no user chooses the letters of; then the free texts, line feeds and all, with a
mark behind each that nobody could have foreseen.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import accumulate, pairwise
from typing import Final

from agent.chance import Chance
from agent.errors import AgentError
from agent.model.job import Job
from agent.slurm.command import Scontrol
from agent.slurm.errors import SlurmRefused, SlurmUnavailable
from agent.slurm.hold import NAME as HOLD

COLUMNS: Final = {
    "JobID": 16,
    "ArrayJobID": 16,
    "ArrayTaskID": 24,
    "UserID": 16,
    "BatchFlag": 8,
    "Requeue": 8,
    "RestartCnt": 16,
    "NumNodes": 16,
    "State": 24,
    "UserName": 72,
    "NodeList": 4096,
}
"""Characters per column: wider than anything in it."""

TEXTS: Final = {"JobID": 16, "admin_comment": 65536, "Comment": 1024, "Name": 256}

NO_TASK: Final = "N/A"


class Jobs:
    """Asks for the jobs of `node`."""

    def __init__(self, node: str, scontrol: Scontrol, chance: Chance) -> None:
        self.node = node
        self._squeue = scontrol.beside("squeue")
        self._chance = chance

    async def all(self) -> list[Job]:
        """Return the jobs that hold our node, those that are completing included, and our own hold not.

        Raises SlurmUnavailable, SlurmRefused.
        """
        return [job for job in await self._ask("-w", self.node) if not (job.uid == 0 and job.name == HOLD)]

    async def one(self, ref: str) -> Job | None:
        """Return a job wherever it is; None when Slurm does not know it (any more).

        Raises SlurmUnavailable, SlurmRefused.
        """
        try:
            found = await self._ask("-j", ref)
        except SlurmRefused as error:
            if is_forgotten(error):
                return None
            raise
        return next((job for job in found if job.ref == ref), None)

    async def _ask(self, *which: str) -> list[Job]:
        found = list(jobs(await self._squeue.run("-h", *which, "-O", columns(COLUMNS))))
        if not found:
            return []
        mark = f"|{self._chance.token(32)}|"
        known = texts(await self._squeue.run("-h", *which, "-O", columns(TEXTS, mark)), mark)
        return [_with(known.get(job.id), job) for job in found]


def is_forgotten(error: AgentError) -> bool:
    """Tell whether Slurm refused because it knows no such job: MinJobAge (300 s) after its end it forgets it."""
    return "Invalid job id" in error.detail


def columns(widths: Mapping[str, int], mark: str = "") -> str:
    """Return the format for squeue: each column in its width, `mark` behind it."""
    return ",".join(f"{name}:{width}{mark}" for name, width in widths.items())


def jobs(text: str) -> Iterator[Job]:
    """Read COLUMNS as squeue prints them. Raises SlurmUnavailable for a line that is no job's."""
    bounds = list(pairwise(accumulate(COLUMNS.values(), initial=0)))
    for line in text.splitlines():
        values = (line[start:end].strip() for start, end in bounds)
        try:
            job = _job(dict(zip(COLUMNS, values, strict=True)))
        except ValueError as error:
            raise SlurmUnavailable("read", "the jobs", f"squeue printed {line[:60].rstrip()!r}") from error
        if job is not None:
            yield job


def _job(values: Mapping[str, str]) -> Job | None:
    """Return a job; None for tasks of an array that wait together: they are on no node."""
    id_, task = int(values["JobID"]), values["ArrayTaskID"]
    if task != NO_TASK and not task.isdigit():
        return None
    return Job(
        id=id_,
        array=None if task == NO_TASK else int(values["ArrayJobID"]),
        task=None if task == NO_TASK else int(task),
        uid=int(values["UserID"]),
        user=values["UserName"],
        state=values["State"],
        is_batch=values["BatchFlag"] == "1",
        is_requeueable=values["Requeue"] == "1",
        restarts=int(values["RestartCnt"]),
        nodes=int(values["NumNodes"]),
        node_list=values["NodeList"],
    )


def texts(text: str, mark: str) -> dict[int, tuple[str, str, str]]:
    """Read TEXTS as squeue prints them with `mark`: admin comment, comment and name by job."""
    values = ["" if value.strip() == "(null)" else value.strip() for value in text.split(mark)]
    starts = range(0, len(values) - len(TEXTS), len(TEXTS))
    return {int(values[at]): (values[at + 1], values[at + 2], values[at + 3]) for at in starts}


def _with(known: tuple[str, str, str] | None, job: Job) -> Job:
    if known is None:
        return job
    admin_comment, comment, name = known
    return replace(job, admin_comment=admin_comment, comment=comment, name=name)
