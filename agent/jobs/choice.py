"""Which head gives a job's next life its files: pure, over what the AdminComment names and the heads say."""

from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum

from agent.jobs.record import JobRecord


class Result(StrEnum):
    """What the job is told in HPC_AGENT_RESTORE."""

    COMPLETE = "complete"
    """All its files, as its last life left them."""
    OLDER = "older"
    """All its files, as an older checkpoint has them."""
    PARTIAL = "partial"
    """Some of its files, or files that were saved while it was writing."""
    NONE = "none"
    """Nothing was restored."""


def record_for(jobs: Iterable[Mapping[str, object]], *, job: int, uid: int, life: int, rank: int) -> JobRecord | None:
    """Return what a head says of a job's rank in one life; None when it says nothing, or of another user's job."""
    for value in jobs:
        try:
            record = JobRecord.parse(value)
        except ValueError:
            continue
        if (record.job, record.uid, record.life, record.rank) == (job, uid, life, rank):
            return record
    return None


def is_exact(record: JobRecord) -> bool:
    """Tell whether a head has all files of the job as they were when it had stopped."""
    return record.complete and record.quiesced and not record.torn


def result(record: JobRecord, *, is_newest: bool, is_whole: bool) -> Result:
    """Return what restoring a head came to. `is_whole`: nothing of it is missing."""
    if not is_whole or not is_exact(record):
        return Result.PARTIAL
    return Result.COMPLETE if is_newest else Result.OLDER


def rank_of(node: str, nodes: Sequence[str]) -> int | None:
    """Return a node's place in a job's list of nodes, None when it is not in it."""
    return nodes.index(node) if node in nodes else None
