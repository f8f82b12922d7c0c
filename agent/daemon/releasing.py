"""The end of an evacuation: jobs handed back with Slurm's word for their files, and the record of what was done."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Final

from agent.checkpoint.keys import outcome_key
from agent.clock import Clock
from agent.copier.protocol import Record
from agent.daemon.jobwork import LAST_WORD, JobWork, job_documents
from agent.daemon.orders import Orders
from agent.daemon.patience import Patience
from agent.daemon.records import outcome_document, place_of
from agent.daemon.rescued import Rescued
from agent.daemon.runner import Tell
from agent.daemon.whoami import Whoami
from agent.errors import AgentError
from agent.evacuation.plan import plan
from agent.evacuation.state import Evacuation

POINTER_SECONDS: Final = 5.0
"""Seconds for the notes for people which head holds whose files, beside the requeues."""

REQUEUE_KEPT: Final = 2.0
"""Seconds kept for handing jobs back without Slurm's word, before those for the record."""


class Releasing:
    """Lets go of `jobs`, whose files are `rescued`, and of the copier behind `orders`."""

    def __init__(
        self,
        *,
        whoami: Whoami,
        orders: Orders,
        jobs: JobWork,
        rescued: Rescued,
        clock: Clock,
        safety_margin: float,
        patience: Patience,
    ) -> None:
        self._whoami = whoami
        self._orders = orders
        self._jobs = jobs
        self._rescued = rescued
        self._clock = clock
        self._safety_margin = safety_margin
        self._patience = patience

    async def release(self, state: Evacuation, tell: Tell) -> list[str]:
        """Hand back the jobs, store the outcome, and let the copier go; return what went wrong, as sentences."""
        async with self._orders.turn:
            try:
                async with asyncio.TaskGroup() as crew:
                    notes = crew.create_task(self._store_pointers(state, tell), name="job pointers")
                    trouble = await self._vouch_again(state)
                    jobs = await self._jobs.hand_back(state, tell)
                trouble += notes.result()
                if await self._orders.may_save(state):
                    await self._store_outcome(state, job_documents(jobs), trouble, tell)
            finally:
                await self._orders.end()
        return trouble

    async def _vouch_again(self, state: Evacuation) -> list[str]:
        """Have Slurm's word stand when the jobs are let go: it may have been silent, or another's word stood over it.

        Return what went wrong, as sentences.
        """
        times = plan(state, safety_margin=self._safety_margin)
        if state.saved is None or times is None or not state.effects.requeue:
            return []
        return await self._rescued.vouch(state, state.saved, until=times.release_until - LAST_WORD - REQUEUE_KEPT)

    async def _store_pointers(self, state: Evacuation, tell: Tell) -> list[str]:
        """Store the notes for people; return what went wrong, as sentences."""
        if not (state.effects.requeue and await self._orders.may_save(state)):
            return []
        try:
            async with asyncio.timeout(POINTER_SECONDS):
                for record in self._rescued.pointers(state, await self._whoami.node()):
                    await self._orders.record(record, tell)
        except AgentError as error:
            return [f"the notes which head holds whose files are not all stored: {error}"]
        except TimeoutError:
            await self._orders.end()  # its late answer would be taken for that to the next question
            return [f"the notes which head holds whose files were not stored within {POINTER_SECONDS:g} s"]
        return []

    async def _store_outcome(
        self, state: Evacuation, jobs: Sequence[Mapping[str, Any]], trouble: Sequence[str], tell: Tell
    ) -> None:
        node = await self._whoami.node()
        ended_at, now = self._clock.now(), asyncio.get_running_loop().time()
        document = outcome_document(state, node, ended_at=ended_at, now=now, jobs=jobs, trouble=trouble)
        record = Record(name=outcome_key(**place_of(state, node)), document=document)
        await self._patience.until_done(lambda: self._orders.record(record, tell), tell)
