"""The scratch of a node that is left: copied while jobs run, once more when they are stopped, committed."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict, replace
from typing import Any, Final

from agent.checkpoint.keys import begun_key
from agent.copier.protocol import Save, Scan, Scanned
from agent.daemon.orders import Orders
from agent.daemon.patience import Patience
from agent.daemon.records import begun_document, place_of
from agent.daemon.rescued import Rescued, require_known
from agent.daemon.runner import Tell
from agent.daemon.whoami import Whoami
from agent.errors import AgentError
from agent.evacuation.plan import plan
from agent.evacuation.record import notice_document
from agent.evacuation.state import Evacuation
from agent.model.checkpoint import CheckpointId

COMMIT_EVERY: Final = 4.0
"""Seconds between heads while copying: what S3 acknowledged 5 s before a cut is restorable (P3)."""

DELTA_COMMIT_EVERY: Final = 3600.0
"""Seconds between heads of the last delta: its only head is the last, so that none is newer and knows less."""

LEAST_MOVE: Final = 0.5
"""Seconds that a deadline must move for a copier to be told."""

LOOK_EVERY: Final = 5.0
LOOK_SHARE: Final = 0.1
"""Seconds between looks at what changes after the first copy; of a large tree, the share of the time they take."""

WORD_KEPT: Final = 1.0
"""Seconds before the end of the commit at which Slurm is asked no more to vouch: what failed has to be told."""


class Copying:
    """Copies with `orders`. `rescued` are the files of jobs, `current` is the state as it is now.

    `make_way` ends a copy ahead, `measured` takes what has changed since the first copy.
    """

    def __init__(
        self,
        *,
        whoami: Whoami,
        orders: Orders,
        rescued: Rescued,
        make_way: Callable[[], Awaitable[None]],
        receipts: Callable[[CheckpointId], str],
        terms: Callable[[], Mapping[str, Any]],
        current: Callable[[], Evacuation],
        measured: Callable[[Scanned], None],
        safety_margin: float,
        patience: Patience,
    ) -> None:
        self._whoami = whoami
        self._orders = orders
        self._rescued = rescued
        self._make_way = make_way
        self._receipts = receipts
        self._terms = terms
        self._current = current
        self._measured = measured
        self._safety_margin = safety_margin
        self._patience = patience
        self._copy_until: float | None = None

    def follow(self, state: Evacuation) -> None:
        """Have a copy that is under way end by the deadline that rules now: it may have moved."""
        until = self._until(state)
        if self._copy_until is not None and until is not None and abs(until - self._copy_until) >= LEAST_MOVE:
            self._orders.move(until)
            self._copy_until = until

    def _until(self, state: Evacuation) -> float | None:
        times = plan(state, safety_margin=self._safety_margin)
        return None if times is None else times.copy_until

    async def copy(self, state: Evacuation, tell: Tell) -> None:
        """Copy the scratch to S3; a copier that dies is started again and goes on from its receipts.

        While jobs run that are stopped later, what is there is committed before they are waited for.
        """
        trouble = await self._copy(state, tell, commit_every=COMMIT_EVERY)
        if self._current().stops and await self._orders.may_save(state):
            await self._orders.finish(tell)
        now = self._current()
        if now.jobs and not now.stops:  # else none is known, or Slurm is asked again before the last delta
            require_known(trouble)

    async def delta(self, state: Evacuation, tell: Tell) -> None:
        """Copy what has changed since it was copied."""
        require_known(await self._copy(state, tell, commit_every=DELTA_COMMIT_EVERY))

    async def measure(self, _state: Evacuation, tell: Tell) -> None:
        """Look what has changed since the first copy, again and again: what stopping the jobs has to leave time for."""
        pause = LOOK_EVERY
        while True:
            await asyncio.sleep(pause)
            if not self._terms()["cache"]:  # the copier would know of no head: all would seem to have changed
                continue
            with contextlib.suppress(AgentError):  # the plan stands; what ails the disk or S3, the last delta tells
                async with self._orders.turn:
                    found = await self._orders.scan(Scan(**self._terms()), tell)
                self._measured(found)
                pause = max(LOOK_EVERY, found.seconds / LOOK_SHARE)

    async def _copy(self, state: Evacuation, tell: Tell, *, commit_every: float) -> list[str]:
        """Copy; return why jobs may not find the files again, as sentences."""
        if not state.saves:
            return []
        if not state.effects.save:
            tell.withheld("the scratch would have been saved")
            return []
        if (reason := await self._orders.refusal()) is not None:
            raise reason
        assert state.checkpoint is not None
        node = await self._whoami.node()
        records, trouble = await self._rescued.look(state, until=self._until(state))
        command = Save(
            checkpoint=state.checkpoint,
            reason="evacuation",
            node=asdict(node),
            notice=None if state.ruling is None else notice_document(state.ruling),
            commit_every=commit_every,
            receipts=self._receipts(state.checkpoint),
            begun={"name": begun_key(**place_of(state, node)), "document": begun_document(state, node)},
            jobs=[record.document() for record in records],
            **self._terms(),
        )

        async def once() -> None:
            self._copy_until = until = self._until(self._current())
            await self._orders.save(replace(command, until=until), tell)

        await self._make_way()
        async with self._orders.turn:
            await self._patience.until_done(once, tell)
        return trouble

    async def commit(self, state: Evacuation, tell: Tell) -> None:
        """Write the last head, and have Slurm vouch for it before any job is let go; what failed is done again then."""
        if not await self._orders.may_save(state):
            return
        saved, times = await self._orders.finish(tell), plan(state, safety_margin=self._safety_margin)
        if times is None or not state.effects.requeue:
            return
        if trouble := await self._rescued.vouch(state, saved, until=times.commit_until - WORD_KEPT):
            tell.waiting("; ".join(trouble))
