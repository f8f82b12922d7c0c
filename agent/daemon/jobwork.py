"""What an evacuation does to the jobs of the node. When is the plan's; nothing is decided here but how often to try."""

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final, Protocol

from agent.chance import Chance
from agent.daemon.patience import Patience
from agent.daemon.runner import Tell, said
from agent.daemon.whoami import Whoami
from agent.errors import AgentError, TransientError
from agent.evacuation.jobs import Dealt, Held
from agent.evacuation.phases import Phase
from agent.evacuation.plan import STOP_COST, Plan, plan, stop_seconds
from agent.evacuation.state import Evacuation
from agent.model.job import Job, Wishes
from agent.slurm.comment import CommentInvalid, wishes
from agent.slurm.errors import SlurmRefused
from agent.slurm.held import Times
from agent.slurm.node import SlurmNode
from agent.slurm.requeue import Requeued, Verdict, why_not

LOOK_EVERY: Final = 2.0
"""Seconds between looks at the jobs while the node is being left: two squeue calls, some 20 ms each."""
PAUSE: Final = 0.5
"""Seconds between two tries, and between two looks whether processes are gone; a half of it at least."""
SIGNALLING: Final = 1.0
"""Seconds for a signal for which it is late: a child of some 20 ms."""
LAST_WORD: Final = 2.0
"""Seconds kept for the record of the outcome, after the jobs are handed back."""

DEALT: Final = {
    Verdict.OURS: Dealt.REQUEUED,
    Verdict.PEERS: Dealt.PEER,
    Verdict.GONE: Dealt.ENDED,
    Verdict.REFUSED: Dealt.LEFT,
}


class StillThere(TransientError):
    """A job that was told to end has processes on this node: it has KillWait to end by itself."""


class Slurm(Protocol):
    """What `agent.slurm.held.HeldJobs` does."""

    async def all(self) -> list[Job]: ...
    async def times(self) -> Times: ...
    async def requeue(self, ref: str, *, life: int) -> Requeued: ...
    async def freeze(self, job: int, *, uid: int) -> None: ...
    async def thaw(self, job: int, *, uid: int) -> None: ...
    async def has_ended_here(self, job: int) -> bool: ...
    async def signal(self, ref: str, name: str) -> None: ...
    async def notify(self, ref: str, text: str) -> None: ...


class JobWork:
    """Looks at jobs, stops them and hands them back. `is_barrier` tells whether Slurm's Epilog waits for us here.

    `default` is what is done for jobs that do not say. `times` are Slurm's own limits as far as they are known, `gone`
    the lives of jobs that have been seen to have no process left on this node.
    """

    def __init__(
        self,
        *,
        whoami: Whoami,
        slurm: Callable[[SlurmNode], Slurm],
        is_barrier: Callable[[], bool],
        safety_margin: float,
        default: Wishes,
        chance: Chance,
    ) -> None:
        self._whoami = whoami
        self._slurm = slurm
        self.is_barrier = is_barrier
        self._safety_margin = safety_margin
        self._default = default
        self._patience = Patience(chance, first=PAUSE, longest=PAUSE)
        self._told: set[tuple[str, int]] = set()
        self._signalled: set[tuple[str, int]] = set()
        # Frozen, at least in part, and not let go on since: another evacuation begins without what the last one did.
        self._frozen: dict[tuple[str, int], Held] = {}
        self.times: Times | None = None
        self.gone: set[tuple[str, int]] = set()

    async def look(self, state: Evacuation, tell: Tell) -> None:
        """Tell which jobs the node has, again and again."""
        known: dict[str, int] = {}
        while True:
            node = await self._whoami.slurm_node()
            try:
                if node is None:
                    tell.looked(())
                else:
                    await self._look(self._slurm(node), state, tell, known)
            except AgentError as error:  # a refusal too: there is nothing better to do than to look again
                tell.troubled(error)
            await asyncio.sleep(LOOK_EVERY)

    async def _look(self, slurm: Slurm, state: Evacuation, tell: Tell, known: dict[str, int]) -> None:
        found = await slurm.all()
        running = [job for job in found if job.is_running]
        helds = [held(job, self._default, tell) for job in running]
        tell.looked(helds, [job.ref for job in found if job.restarts > known.get(job.ref, 10**9)])
        known.update((job.ref, job.life) for job in running)
        if state.effects.requeue:
            await self._warn(slurm, running, state)
            await self._tell_left(slurm, helds, state, tell)
        elif running and not state.effects.save:
            tell.withheld(f"{len(running)} jobs would have been requeued: {' '.join(job.ref for job in running[:20])}")
        if self.times is None:
            self.times = await slurm.times()
        tell.planned(stop_seconds=stop_seconds(is_barrier=self.is_barrier(), kill_wait=self.times.kill_wait))

    async def _warn(self, slurm: Slurm, running: list[Job], state: Evacuation) -> None:
        """Tell whoever sits at an interactive job, once."""
        ruling = state.ruling
        if ruling is None:
            return
        for job in running:
            if job.is_batch or (job.ref, job.life) in self._told:
                continue
            self._told.add((job.ref, job.life))
            left = max(0, round(ruling.due - asyncio.get_running_loop().time()))
            await slurm.notify(job.ref, f"hpc-agent: this node goes in {left} s ({ruling.kind}): save your work")

    async def _tell_left(self, slurm: Slurm, helds: list[Held], state: Evacuation, tell: Tell) -> None:
        """Signal jobs that asked for it and are not to be stopped, once: all the time that is left is theirs."""
        for job in helds:
            known = (state.jobs or {}).get(job.ref, job)
            if not (job.why and job.signal) or (job.ref, job.life) in self._signalled or known.signalled:
                continue
            try:
                await self._signal(slurm, job, tell)
            except TransientError as error:  # the next look tries again: nobody else waits for it
                tell.troubled(error)

    async def _signal(self, slurm: Slurm, job: Held, tell: Tell) -> None:
        with contextlib.suppress(SlurmRefused):  # it has ended
            await slurm.signal(job.ref, job.signal)
            tell.signalled(job)
        self._signalled.add((job.ref, job.life))

    async def stop(self, state: Evacuation, tell: Tell) -> None:
        """Signal the jobs that asked for it, and stop all that Slurm takes back when the plan says so.

        Raises SlurmRefused when one of them can't be stopped.
        """
        node, times = await self._whoami.slurm_node(), plan(state, safety_margin=self._safety_margin)
        if node is None or times is None:
            return
        refusals: list[SlurmRefused] = []

        async def stop(job: Held) -> None:
            try:
                await self._stop(self._slurm(node), job, times, tell)
            except SlurmRefused as error:  # told when all the others are stopped
                refusals.append(error)

        async with asyncio.TaskGroup() as crew:
            for job in state.to_stop:
                crew.create_task(stop(job), name=f"stop {job.ref}")
        if refusals:
            raise refusals[0]

    async def _stop(self, slurm: Slurm, job: Held, times: Plan, tell: Tell) -> None:
        if job.signal and not job.signalled:
            await _sleep_until(times.stop_at - job.grace)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(max(times.stop_at, asyncio.get_running_loop().time() + SIGNALLING)):
                    await self._patience.until_done(lambda: self._signal(slurm, job, tell), tell)
        await _sleep_until(times.stop_at)
        if self.is_barrier() and await self._is_answered(slurm, job, tell, until=times.stop_until - STOP_COST):
            await self._patience.until_done(lambda: _gone(slurm, job), tell)
            self.gone.add((job.ref, job.life))
            return
        self._frozen[(job.ref, job.life)] = job
        await self._patience.until_done(lambda: slurm.freeze(job.id, uid=job.uid), tell)
        tell.handled(job, Dealt.FROZEN)

    async def _is_answered(self, slurm: Slurm, job: Held, tell: Tell, *, until: float) -> bool:
        """Requeue a job; False when Slurm has not answered by `until` (monotonic): this node can stop it by itself."""
        try:
            async with asyncio.timeout_at(until):
                await self._requeue(slurm, job, tell)
        except TimeoutError:
            return False
        return True

    async def hand_back(self, state: Evacuation, tell: Tell) -> Mapping[str, Held]:
        """Requeue what was stopped, and what there was no time to stop; return all jobs as they are then.

        What is not done shortly before the deadline stays undone: Slurm requeues it when it misses the node.
        """
        jobs = dict(state.jobs or {})
        node, times = await self._whoami.slurm_node(), plan(state, safety_margin=self._safety_margin)
        waiting = [job for job in jobs.values() if job.is_to_be_requeued]
        if node is None or times is None or not waiting or not (state.effects.requeue and state.saves):
            return jobs
        slurm = self._slurm(node)

        async def requeue(job: Held) -> None:
            jobs[job.ref] = await self._requeue(slurm, job, tell)

        try:
            async with asyncio.timeout_at(times.release_until - LAST_WORD), asyncio.TaskGroup() as crew:
                for job in waiting:
                    crew.create_task(requeue(job), name=f"requeue {job.ref}")
        except TimeoutError:
            return jobs
        return jobs

    async def thaw(self, state: Evacuation, tell: Tell) -> None:
        """Let jobs that we stopped go on: the node stays after all. We may have died before we noted one down."""
        has_stopped = Phase.STOPPING in state.entered
        stopped = self._frozen | {
            (job.ref, job.life): job
            for job in (state.jobs or {}).values()
            if job.dealt is Dealt.FROZEN or (has_stopped and job.is_to_be_stopped)
        }
        node = await self._whoami.slurm_node() if stopped else None
        if node is None:
            return
        async with asyncio.TaskGroup() as crew:
            for job in stopped.values():
                crew.create_task(self._let_go_on(self._slurm(node), job, tell), name=f"thaw {job.ref}")

    async def _let_go_on(self, slurm: Slurm, job: Held, tell: Tell) -> None:
        await self._go_on(slurm, job, tell)
        tell.handled(job, Dealt.RUNNING)

    async def _go_on(self, slurm: Slurm, job: Held, tell: Tell) -> None:
        with contextlib.suppress(SlurmRefused):  # it has ended
            await self._patience.until_done(lambda: slurm.thaw(job.id, uid=job.uid), tell)
        self._frozen.pop((job.ref, job.life), None)

    async def _requeue(self, slurm: Slurm, job: Held, tell: Tell) -> Held:
        try:
            done = await self._patience.until_done(lambda: slurm.requeue(job.ref, life=job.life), tell)
        except SlurmRefused as error:
            done = Requeued(verdict=Verdict.REFUSED, why=error.detail)
        if job.dealt is Dealt.FROZEN or not self.is_barrier():
            # What is frozen can't be ended (cgroup v1), nor go on when it is left here.
            await self._go_on(slurm, job, tell)
        tell.handled(job, DEALT[done.verdict], done.why)
        return replace(job, dealt=DEALT[done.verdict], why=done.why or job.why)


def held(job: Job, default: Wishes, tell: Tell) -> Held:
    """Return a job as the evacuation sees it; a wish that is not understood is for no signal at all, and is told.

    What everybody gets is not for a job that is not requeued: if it dies of it, nothing brings it back.
    """
    try:
        wished = wishes(job.comment)
    except CommentInvalid as error:
        tell.waiting(f"job {job.ref}: {said(error)}", error.hint)
        wished = Wishes(signal="")
    if wished.signal is None and not why_not(job):
        wished = default
    return Held(
        ref=job.ref,
        id=job.id,
        uid=job.uid,
        user=job.user,
        life=job.life,
        why=why_not(job),
        signal=wished.signal or "",
        grace=wished.grace if wished.signal else 0.0,
    )


def job_documents(jobs: Mapping[str, Held]) -> list[dict[str, Any]]:
    """Return what became of each job, for the outcome record."""
    return [
        {
            "job": job.ref,
            "user": job.user,
            "life": job.life,
            "done": Dealt.LEFT if job.dealt is Dealt.RUNNING else job.dealt,
            "why": job.why or ("there was no time" if job.dealt in {Dealt.RUNNING, Dealt.FROZEN} else ""),
            "signalled": job.signalled,
        }
        for job in jobs.values()
    ]


async def _gone(slurm: Slurm, job: Held) -> None:
    if not await slurm.has_ended_here(job.id):
        raise StillThere("wait for", f"job {job.ref}", "its processes have not ended yet")


async def _sleep_until(time: float) -> None:
    await asyncio.sleep(max(0.0, time - asyncio.get_running_loop().time()))
