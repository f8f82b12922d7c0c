"""The files of the node's jobs: what a head says of them, and what Slurm is told so that a Prolog believes the head."""

import asyncio
from collections.abc import Container, Iterable, Sequence
from dataclasses import replace
from typing import Final

from agent.chance import Chance
from agent.checkpoint.keys import job_key
from agent.copier.protocol import Record
from agent.errors import AgentError, TransientError
from agent.evacuation.state import Saved
from agent.jobs.choice import rank_of
from agent.jobs.lives import Lives
from agent.jobs.record import MOST, JobRecord, pointer, record_of
from agent.model.job import Job
from agent.model.node import Node
from agent.slurm.admin_comment import AdminComments, Kept
from agent.slurm.command import Scontrol
from agent.slurm.freeze import Processes
from agent.slurm.jobs import Jobs

PATIENCE: Final = 5.0
"""Seconds that a save waits for Slurm to say which jobs there are."""
AT_ONCE: Final = 4
"""Jobs whose AdminComment is changed at the same time."""
PAUSE: Final = 0.5
"""Seconds between two tries."""


class JobFiles:
    """For the node `name` of Slurm. `templates` are the setting `jobs.files`, `lives` what the Prolog wrote down."""

    def __init__(
        self, name: str, scontrol: Scontrol, *, templates: Sequence[str], lives: Lives, chance: Chance
    ) -> None:
        self._name = name
        self._scontrol = scontrol
        self._templates = templates
        self._lives = lives
        self._jobs = Jobs(name, scontrol, chance)
        self._processes = Processes(scontrol=scontrol)
        self._comments = AdminComments(squeue=scontrol.beside("squeue"), scontrol=scontrol, chance=chance)

    async def all(self) -> list[Job]:
        """Return the jobs that hold the node. Raises SlurmUnavailable, SlurmRefused."""
        return await self._jobs.all()

    async def has_ended_here(self, job: int) -> bool:
        """Tell whether no process of a job is left on this node. Raises SlurmUnavailable, SlurmRefused."""
        return not await self._processes.of(job)

    async def here(self) -> tuple[list[JobRecord], list[str]]:
        """Return what a head that is to be written now says of the jobs of the node, and what went wrong, as sentences.

        Files are saved without it as well: only their jobs do not find them by themselves.
        """
        try:
            async with asyncio.timeout(PATIENCE):
                return await self.records(await self._jobs.all()), []
        except AgentError as error:
            return [], [f"jobs will not find these files again: {error}"]
        except TimeoutError:
            return [], [
                f"jobs will not find these files again: Slurm did not tell within {PATIENCE:g} s which there are"
            ]

    async def records(self, jobs: Sequence[Job], *, quiesced: Container[str] = ()) -> list[JobRecord]:
        """Return what the next head is to say of `jobs`, all that are on the node.

        `quiesced` has the `ref` of those whose processes are gone, or stopped, before the save begins. Raises
        SlurmUnavailable, SlurmRefused.
        """
        found = []
        for job in map(self._as_begun, jobs[:MOST]):
            rank = rank_of(self._name, await self._names(job.node_list))
            if rank is not None:
                found.append(
                    record_of(
                        job,
                        jobs,
                        life=life_here(job),
                        rank=rank,
                        templates=self._templates,
                        quiesced=job.ref in quiesced,
                    )
                )
        return found

    def _as_begun(self, job: Job) -> Job:
        """Return a job that ends with all the nodes that it had, where its Prolog wrote them down."""
        begun = None if job.is_running else self._lives.of(job.id)
        return job if begun is None or begun.number != life_here(job) else replace(job, node_list=begun.node_list)

    async def of_peer(self, job: int, *, life: int) -> JobRecord | None:
        """Return what there is to say of this node's part of a job whose `life` the agent of another node has ended.

        None when none did. Raises SlurmUnavailable, SlurmRefused.
        """
        jobs = await self._jobs.all()
        mine = next((each for each in jobs if each.id == job and life_here(each) == life), None)
        standing = None if mine is None else await self._comments.read(mine.ref)
        claim = None if standing is None else standing.comment.claim
        if mine is None or claim is None or claim.life != life or claim.node == self._name:
            return None
        records = await self.records(jobs, quiesced={mine.ref})
        # Files of its user elsewhere are not looked at: `alone` would call them its own.
        return next((replace(record, alone=False) for record in records if record.job == job), None)

    async def vouch(self, records: Iterable[JobRecord], saved: Saved, *, until: float) -> list[str]:
        """Have the head of `saved` stand in the AdminComment of each job; return what went wrong, as sentences.

        Slurm is asked again until then (monotonic) while it does not answer; where the head stands, nothing is changed.
        """
        turn = asyncio.Semaphore(AT_ONCE)

        async def keep(record: JobRecord) -> str:
            async with turn:
                return await self._keep(record, saved, until)

        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(keep(record), name=f"vouch for job {record.job}") for record in records]
        return [sentence for task in tasks if (sentence := task.result())]

    async def _keep(self, record: JobRecord, saved: Saved, until: float) -> str:
        kept = Kept(life=record.life, rank=record.rank, key=saved.key, digest=saved.digest)
        while True:
            try:
                is_kept = await self._comments.keep(ref_of(record), kept)
            except AgentError as error:
                is_over = asyncio.get_running_loop().time() + PAUSE >= until
                if is_over or not isinstance(error, TransientError):
                    return f"job {ref_of(record)} will not find its files again: {error}"
            else:
                return "" if is_kept else f"job {ref_of(record)} has gone on without these files"
            await asyncio.sleep(PAUSE)

    async def _names(self, node_list: str) -> list[str]:
        if "[" not in node_list:
            return node_list.split(",")
        return (await self._scontrol.run("show", "hostnames", node_list)).split()


def pointers(records: Iterable[JobRecord], saved: Saved, node: Node) -> list[Record]:
    """Return the notes for people which head holds the files of which job."""
    return [
        Record(
            name=job_key(cluster=node.cluster, job=record.job, writer=node.writer, life=record.life, rank=record.rank),
            document=pointer(replace(record, complete=saved.complete), head=saved.key, digest=saved.digest),
        )
        for record in records
    ]


def life_here(job: Job) -> int:
    """Return which life of the job this node has: one that was requeued and still ends here shows the next count."""
    return job.restarts if job.is_running else max(0, job.restarts - 1)


def ref_of(record: JobRecord) -> str:
    """Return how Slurm has to be told the job."""
    return record.array or str(record.job)
