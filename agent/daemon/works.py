"""The pieces of work of an evacuation, and which part of the daemon does each. When is the state's."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from agent.chance import Chance
from agent.clock import Clock
from agent.copier.protocol import Scanned
from agent.daemon.copier import Copier, Listener
from agent.daemon.copying import Copying
from agent.daemon.draining import Draining
from agent.daemon.jobwork import JobWork
from agent.daemon.leading import Leading
from agent.daemon.orders import Orders
from agent.daemon.patience import Patience
from agent.daemon.releasing import Releasing
from agent.daemon.rescued import Rescued, require_known
from agent.daemon.runner import Performer, Tell
from agent.daemon.whoami import Whoami
from agent.errors import PermanentError
from agent.evacuation.state import Evacuation
from agent.evacuation.work import Work
from agent.model.checkpoint import CheckpointId
from agent.slurm.hold import Hold
from agent.slurm.node import SlurmNode

PAUSE: Final = (0.25, 2.0)
"""Seconds between two tries of a drain: the first pause and the longest. A scontrol that fails has waited itself."""


class Works:
    """The performers of one daemon. `moved` sees every message of the copier; `heard` tells whether each source of
    notices has answered since the start; `cannot_save` says why nothing can be saved, else None. `leading`
    saves ahead, `rescued` are the files of jobs, `current` is the state as it is now. `measured` takes what has changed
    since the first copy. `hold` keeps an idle node that `may_lose` files; None where the operator wants none of it.
    """

    def __init__(
        self,
        *,
        whoami: Whoami,
        copier: Copier,
        leading: Leading,
        moved: Listener,
        heard: Callable[[], bool],
        receipts: Callable[[CheckpointId], str],
        terms: Callable[[], Mapping[str, Any]],
        safety_margin: float,
        cannot_save: Callable[[], Awaitable[PermanentError | None]],
        clock: Clock,
        chance: Chance,
        jobs: JobWork,
        rescued: Rescued,
        current: Callable[[], Evacuation],
        measured: Callable[[Scanned], None],
        hold: Callable[[SlurmNode], Hold] | None,
        may_lose: Callable[[], bool],
    ) -> None:
        first, longest = PAUSE
        patience = Patience(chance, first=first, longest=longest)
        self._jobs = jobs
        self._leading = leading
        self._orders = orders = Orders(copier, moved=moved, refusal=cannot_save)
        self._draining = Draining(
            whoami=whoami, heard=heard, hold=hold, may_lose=may_lose, safety_margin=safety_margin, patience=patience
        )
        self._copying = Copying(
            whoami=whoami,
            orders=orders,
            rescued=rescued,
            make_way=leading.make_way,
            receipts=receipts,
            terms=terms,
            current=current,
            measured=measured,
            safety_margin=safety_margin,
            patience=patience,
        )
        self._releasing = Releasing(
            whoami=whoami,
            orders=orders,
            jobs=jobs,
            rescued=rescued,
            clock=clock,
            safety_margin=safety_margin,
            patience=patience,
        )

    @property
    def performers(self) -> Mapping[Work, Performer]:
        return {
            Work.DRAIN: self._draining.drain,
            Work.COPY: self._copying.copy,
            Work.COMMIT: self._copying.commit,
            Work.RELEASE: self._release,
            Work.LIFT: self._lift,
            Work.LEAD: self._lead,
            Work.JOBS: self._jobs.look,
            Work.MEASURE: self._copying.measure,
            Work.STOP: self._jobs.stop,
            Work.DELTA: self._copying.delta,
        }

    def follow(self, state: Evacuation) -> None:
        """Have a copy that is under way end by the deadline that rules now: it may have moved."""
        self._copying.follow(state)

    async def _release(self, state: Evacuation, tell: Tell) -> None:
        trouble = await self._releasing.release(state, tell)
        await self._draining.let_go(state, tell)
        require_known(trouble)

    async def _lift(self, state: Evacuation, tell: Tell) -> None:
        async with self._orders.turn:
            await self._orders.end()
        # Side by side: a job that can't be let go on is tried for ever, and the node is not kept drained for it.
        thawed, lifted = await asyncio.gather(
            self._jobs.thaw(state, tell), self._draining.lift(state, tell), return_exceptions=True
        )
        for error in (thawed, lifted):
            if error is not None:
                raise error

    async def _lead(self, state: Evacuation, tell: Tell) -> None:
        """Save ahead, behind everything else on the node; an evacuation ends it."""
        if not state.effects.save:
            tell.withheld("the scratch would have been saved ahead")
            return
        if (reason := await self._orders.refusal()) is not None:
            raise reason
        await self._leading.save_for(min(state.leading, key=lambda notice: (notice.due, notice.id)))
