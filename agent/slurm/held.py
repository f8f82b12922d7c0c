"""All that is done to the jobs of our node, in one place: seen, told, stopped, handed back."""

from typing import Final

from agent.chance import Chance
from agent.model.job import Job
from agent.slurm.admin_comment import AdminComments
from agent.slurm.errors import SlurmRefused
from agent.slurm.freeze import Processes
from agent.slurm.jobs import Jobs
from agent.slurm.node import SlurmNode
from agent.slurm.parse import config, config_seconds
from agent.slurm.requeue import Requeue, Requeued
from agent.value import value

KILL_WAIT: Final = 30.0
"""Slurm's default, and ParallelCluster's."""


@value
class Times:
    """Slurm's own limits, in seconds, by `scontrol show config`.

    `kill_wait` is what a job that ignores TERM takes to end.
    """

    kill_wait: float = KILL_WAIT


class HeldJobs:
    """The jobs that hold `node`. All of it raises SlurmUnavailable and SlurmRefused; trying again is the caller's."""

    def __init__(self, node: SlurmNode, *, instance_id: str, chance: Chance) -> None:
        self._scontrol = node.scontrol
        self._scancel = node.scontrol.beside("scancel")
        self._jobs = Jobs(node.name, node.scontrol, chance)
        self._processes = Processes(scontrol=node.scontrol)
        comments = AdminComments(squeue=node.scontrol.beside("squeue"), scontrol=node.scontrol, chance=chance)
        self._requeue = Requeue(self._jobs, node.scontrol, comments, node=node.name, instance_id=instance_id)

    async def all(self) -> list[Job]:
        """Return the jobs that hold the node, those that are completing included."""
        return await self._jobs.all()

    async def times(self) -> Times:
        """Return what the cluster's configuration says."""
        known = config(await self._scontrol.show_config())
        kill_wait = config_seconds(known.get("KillWait", ""))
        return Times(kill_wait=KILL_WAIT if kill_wait is None else kill_wait)

    async def requeue(self, ref: str, *, life: int) -> Requeued:
        """Requeue a job once per life; see `Requeue`."""
        return await self._requeue.requeue(ref, life=life)

    async def freeze(self, job: int, *, uid: int) -> None:
        """Stop its processes on this node where they are."""
        await self._processes.freeze(job, uid=uid)

    async def thaw(self, job: int, *, uid: int) -> None:
        """Let its processes on this node go on."""
        await self._processes.thaw(job, uid=uid)

    async def has_ended_here(self, job: int) -> bool:
        """Tell whether no process of the job is left on this node."""
        return not await self._processes.of(job)

    async def signal(self, ref: str, name: str) -> None:
        """Send a signal to batch shell and steps. A job that does not trap it dies of it, and is not requeued."""
        await self._scancel.run("--full", f"--signal={name}", ref)

    async def notify(self, ref: str, text: str) -> None:
        """Write a line to whoever sits at an interactive job; one that has just ended hears nothing."""
        try:
            await self._scontrol.run("notify", ref, text)
        except SlurmRefused:
            return
