"""The node in Slurm while it is left: drained, held if it runs nothing, and given back when it stays after all."""

import asyncio
import math
from collections.abc import Callable
from typing import Final

from agent.daemon.patience import Patience
from agent.daemon.runner import Tell
from agent.daemon.whoami import Whoami
from agent.errors import AgentError, TransientError
from agent.evacuation.plan import plan
from agent.evacuation.state import Evacuation
from agent.model.drain import Drain, NodeState
from agent.slurm.errors import SlurmRefused
from agent.slurm.hold import Hold
from agent.slurm.node import SlurmNode
from agent.slurm.reason import Reason, boot_of

HOLDING: Final = 3.0
"""Seconds after the notice by which a node is drained, held or not (P1)."""

LETTING_GO: Final = 2.0
"""Seconds for giving a hold back: nothing waits for longer for it."""


class Unheard(TransientError):
    """Our drain stands, and whether its notice still does is not known (P5)."""


class Draining:
    """Drains and lifts. `heard` tells whether each source of notices has answered since the start; `hold` keeps an idle
    node that `may_lose` files, None where the operator wants none of it.
    """

    def __init__(
        self,
        *,
        whoami: Whoami,
        heard: Callable[[], bool],
        hold: Callable[[SlurmNode], Hold] | None,
        may_lose: Callable[[], bool],
        safety_margin: float,
        patience: Patience,
    ) -> None:
        self._whoami = whoami
        self._heard = heard
        self._hold = hold
        self._may_lose = may_lose
        self._safety_margin = safety_margin
        self._patience = patience
        self._is_held = False
        # A cancelled piece of work may still be ending when the next one begins.
        self._turn = asyncio.Lock()

    async def drain(self, state: Evacuation, tell: Tell) -> None:
        """Drain our node, for as long as it takes."""
        slurm, ruling = await self._whoami.slurm_node(), state.ruling
        if slurm is None or ruling is None:
            return
        if not state.effects.drain:
            tell.withheld(f"node {slurm.name} would have been drained: {ruling.kind}")
            return

        me = self._whoami
        reason = Reason(kind=ruling.kind, instance_id=me.instance_id, boot=boot_of(me.boot_id), until=ruling.ends_at)

        async def hold(idle: NodeState) -> None:
            await self._take(slurm, idle, state, tell)

        async def once() -> None:
            tell.drained(await slurm.drain(reason, hold=hold))

        async with self._turn:
            await self._patience.until_done(once, tell)

    async def _take(self, slurm: SlurmNode, idle: NodeState, state: Evacuation, tell: Tell) -> None:
        """Have the node, which runs nothing, not taken before its files are saved; it is drained in any case."""
        times = plan(state, safety_margin=self._safety_margin)
        if self._hold is None or times is None or state.began is None or not (state.saves and self._may_lose()):
            return
        minutes = 1 + math.ceil((times.release_until - state.began) / 60)
        try:
            async with asyncio.timeout_at(state.began + HOLDING):
                self._is_held = True
                await self._hold(slurm).begin(idle, minutes=minutes)
        except AgentError as error:
            self._is_held = False
            tell.troubled(error)
        except TimeoutError:
            tell.waiting("the node is not held while it is saved: Slurm did not answer in time")

    async def lift(self, state: Evacuation, tell: Tell) -> None:
        """Lift a drain that is ours or our dead predecessor's; leave anyone else's."""
        slurm, me = await self._whoami.slurm_node(), self._whoami
        if slurm is None:
            return
        if not state.effects.drain:
            tell.withheld(f"a drain of ours on node {slurm.name} would have been lifted, if there is one")
            return

        async def once() -> None:
            # An evacuation returns because its own notices are over; only a drain that an earlier life left may have
            # one that has not been heard of yet.
            live = False if state.began is not None or self._heard() else None
            drain = await slurm.lift(instance_id=me.instance_id, boot_id=me.boot_id, has_live_notice=live)
            if drain is Drain.OURS:
                raise Unheard("lift", f"our drain of {slurm.name}", "not every source of notices has been heard yet")
            tell.drained(drain)

        async with self._turn:
            await self._patience.until_done(once, tell)
        if state.began is not None:  # now that Slurm answers
            await self._give_back(slurm, state, tell)

    async def let_go(self, state: Evacuation, tell: Tell) -> None:
        """Give the node back, if we hold it: its files are saved."""
        if self._is_held:
            await self._give_back(await self._whoami.slurm_node(), state, tell)

    async def _give_back(self, slurm: SlurmNode | None, state: Evacuation, tell: Tell) -> None:
        """Give the node back, if it is held. Tried once, for a moment: it ends by itself after the deadline."""
        if slurm is None or self._hold is None or not state.effects.drain:
            return
        self._is_held = False
        try:
            async with asyncio.timeout(LETTING_GO):
                await self._hold(slurm).end()
        except SlurmRefused:  # there is nothing to end
            return
        except AgentError as error:
            tell.troubled(error)
        except TimeoutError:
            tell.waiting("the node is still held: Slurm did not answer in time")
