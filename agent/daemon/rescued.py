"""The jobs of a node that is being left: what its heads say of them, and Slurm's word for the head that counts."""

import asyncio
from collections.abc import Callable, Container, Sequence
from dataclasses import replace
from typing import Final, Protocol

from agent.copier.protocol import Record
from agent.daemon.jobfiles import pointers, ref_of
from agent.errors import AgentError, PermanentError, TransientError
from agent.evacuation.jobs import Dealt, Held
from agent.evacuation.phases import Phase
from agent.evacuation.state import Evacuation, Saved
from agent.jobs.record import JobRecord
from agent.model.job import Job
from agent.model.node import Node

PATIENCE: Final = 3.0
"""Seconds that a copy waits for Slurm to say which jobs there are."""
SHARE: Final = 1 / 3
"""Of the copy's own time, at most."""
PAUSE: Final = 0.25
"""Seconds until it is asked again."""

Life = tuple[str, int]
"""What Slurm calls a job, and the number of its life."""


class JobsUnknown(PermanentError):
    """All that could be saved was; not every job will find it again."""


class Files(Protocol):
    """What `agent.daemon.jobfiles.JobFiles` does."""

    async def all(self) -> list[Job]: ...
    async def records(self, jobs: list[Job], *, quiesced: Container[str] = ()) -> list[JobRecord]: ...
    async def vouch(self, records: list[JobRecord], saved: Saved, *, until: float) -> list[str]: ...
    async def has_ended_here(self, job: int) -> bool: ...


class Rescued:
    """`files` is None where Slurm is not (yet) to be told. What is known of a job that has left the node is kept.

    `gone` are the jobs whose processes on this node have ended, as far as somebody has looked.
    """

    def __init__(self, files: Callable[[], Files | None], *, gone: Container[Life]) -> None:
        self._files = files
        self._gone = gone
        self._checkpoint: str | None = None
        self._known: dict[tuple[int, int], JobRecord] = {}

    async def look(self, state: Evacuation, *, until: float | None) -> tuple[list[JobRecord], list[str]]:
        """Return what the heads of the copy that begins now say of the jobs, and what went wrong, as sentences.

        Without an answer in time the files are saved all the same, for the jobs that were known before. `until` is when
        the copy has to be through (monotonic), None when no time is set.
        """
        files = self._files()
        if state.checkpoint != self._checkpoint:
            self._checkpoint, self._known = state.checkpoint, {}
        if files is None:
            return [], []
        if state.drain is None and state.phase is Phase.COPYING:  # the copy has waited for it once
            return self._left(state), ["jobs may not find their files again: Slurm does not answer"]
        self._known = {key: self._still(record, state) for key, record in self._known.items()}
        patience = PATIENCE
        if until is not None:
            patience = min(patience, (until - asyncio.get_running_loop().time()) * SHARE)
        try:
            async with asyncio.timeout(patience):
                now = await self._asked(files, state)
        except AgentError as error:
            return self._left(state), [f"jobs may not find their files again: {error}"]
        except TimeoutError:
            said = f"Slurm did not tell within {patience:.1f} s which there are"
            return self._left(state), [f"jobs may not find their files again: {said}"]
        self._known.update(((record.job, record.life), record) for record in now)
        return self._left(state), []

    async def _asked(self, files: Files, state: Evacuation) -> list[JobRecord]:
        """Return the jobs that Slurm tells of. The first copy asks once: the last delta asks again."""
        while True:
            try:
                return await files.records(await files.all(), quiesced=await self._at_rest(files, state))
            except TransientError:
                if state.phase is Phase.COPYING:
                    raise
            await asyncio.sleep(PAUSE)

    async def _at_rest(self, files: Files, state: Evacuation) -> set[str]:
        """Return the `ref` of the jobs whose processes on this node are stopped, or gone."""
        jobs = (state.jobs or {}).values()
        known = {job.ref for job in jobs if self._is_still(job)}
        taken = [job for job in jobs if job.dealt in {Dealt.REQUEUED, Dealt.PEER} and job.ref not in known]
        return known | {job.ref for job in taken if await files.has_ended_here(job.id)}

    def _still(self, record: JobRecord, state: Evacuation) -> JobRecord:
        """Return what is known of a job without asking Slurm: whether we have stopped it, or seen it end."""
        job = (state.jobs or {}).get(ref_of(record))
        is_still = job is not None and job.life == record.life and self._is_still(job)
        return replace(record, quiesced=record.quiesced or is_still)

    def _is_still(self, job: Held) -> bool:
        return job.dealt is Dealt.FROZEN or (job.ref, job.life) in self._gone

    def _left(self, state: Evacuation) -> list[JobRecord]:
        """Return the records of all but those jobs that have ended by themselves."""
        return [record for record in self._known.values() if not _has_ended(record, state)]

    async def vouch(self, state: Evacuation, saved: Saved, *, until: float) -> list[str]:
        """Have Slurm vouch for the head for every job that may come back; return what went wrong, as sentences.

        Ends by `until` (monotonic). Where its word stands already that is seen, and nothing more is done.
        """
        files, wanted = self._files(), [record for record in self._left(state) if _may_come_back(record, state)]
        if files is None or not wanted:
            return []
        try:
            async with asyncio.timeout_at(until):
                return await files.vouch(wanted, saved, until=until)
        except TimeoutError:
            return ["jobs may not find their files again: Slurm did not take the word for them in time"]

    def pointers(self, state: Evacuation, node: Node) -> list[Record]:
        """Return the notes for people which head holds whose files; none without a head."""
        return [] if state.saved is None else pointers(self._left(state), state.saved, node)


def require_known(trouble: Sequence[str]) -> None:
    """Raise JobsUnknown where jobs may not find their files again, for the reasons given as sentences."""
    if trouble:
        raise JobsUnknown("save", "the files of jobs", "; ".join(trouble))


def _has_ended(record: JobRecord, state: Evacuation) -> bool:
    held = (state.jobs or {}).get(ref_of(record))
    return held is not None and held.life == record.life and held.dealt is Dealt.ENDED


def _may_come_back(record: JobRecord, state: Evacuation) -> bool:
    held = (state.jobs or {}).get(ref_of(record))
    return held is None or not held.why or held.dealt in {Dealt.REQUEUED, Dealt.PEER}
