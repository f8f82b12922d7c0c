"""Hands a job back to Slurm, so that it starts again elsewhere: once per life, by one agent of all its nodes."""

from enum import StrEnum
from typing import Final

from agent.model.job import Job
from agent.slurm.admin_comment import AdminComment, AdminComments, Claim
from agent.slurm.command import Command
from agent.slurm.errors import SlurmRefused, SlurmUnavailable
from agent.slurm.jobs import Jobs
from agent.value import value


class Verdict(StrEnum):
    """What became of a job that was to be requeued."""

    OURS = "requeued by us"
    PEERS = "requeued by the agent of another node"
    GONE = "its life is over"
    REFUSED = "Slurm refuses"


@value
class Requeued:
    verdict: Verdict
    why: str = ""


INTERACTIVE: Final = "interactive: only batch jobs can be requeued"
NOT_REQUEUEABLE: Final = "submitted with --no-requeue"


def why_not(job: Job) -> str:
    """Return why Slurm would not requeue a job, "" when it would."""
    if not job.is_batch:
        return INTERACTIVE
    return "" if job.is_requeueable else NOT_REQUEUEABLE


class Requeue:
    """Requeues jobs as the agent of `node`, whose machine is `instance_id`."""

    def __init__(self, jobs: Jobs, scontrol: Command, comments: AdminComments, *, node: str, instance_id: str) -> None:
        self._jobs = jobs
        self._scontrol = scontrol
        self._comments = comments
        self._node = node
        self._instance_id = instance_id

    async def requeue(self, ref: str, *, life: int) -> Requeued:
        """Requeue the job `ref` if it still is in its life number `life`; return what became of it.

        The AdminComment is marked first: whoever finds the mark of another node leaves the job to it. What an earlier
        call left undone is done now. Raises SlurmUnavailable when it is not known to be requeued, SlurmRefused.
        """
        if (over := await self._over(ref, life)) is not None:
            return over
        mine = self._claim(life)
        claim = await self._comments.claim(ref, mine)
        if claim is None:
            return Requeued(verdict=Verdict.GONE, why="Slurm does not know it any more")
        if claim != mine:
            return Requeued(verdict=Verdict.PEERS, why=f"by the agent of {claim.node}")
        if (over := await self._over(ref, life)) is not None:  # the mark took a while
            return over
        try:
            await self._scontrol.run("requeue", "Incomplete", ref)
        except SlurmRefused as error:
            return Requeued(verdict=Verdict.REFUSED, why=error.detail)
        if await self._over(ref, life) is None:
            raise SlurmUnavailable("requeue", f"job {ref}", "it still runs")
        return Requeued(verdict=Verdict.OURS)

    async def _over(self, ref: str, life: int) -> Requeued | None:
        """Return how the life of a job ended, None while it goes on."""
        job = await self._jobs.one(ref)
        if job is None:
            return Requeued(verdict=Verdict.GONE, why="Slurm does not know it any more")
        if job.restarts > life:
            ours = AdminComment.parse(job.admin_comment).claim == self._claim(life)
            return Requeued(verdict=Verdict.OURS if ours else Verdict.PEERS, why="" if ours else "not by us")
        return None if job.is_running else Requeued(verdict=Verdict.GONE, why=job.state.lower())

    def _claim(self, life: int) -> Claim:
        return Claim(life=life, node=self._node, instance_id=self._instance_id)
