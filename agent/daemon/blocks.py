"""What the daemon makes of the Capacity Block that its source knows: a line for people, a Slurm reservation."""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Final

from agent.chance import Chance
from agent.clock import Clock, stamp
from agent.daemon.capabilities import Capabilities, Name
from agent.errors import AgentError
from agent.evacuation.state import Trouble
from agent.notices.block import CONFIGURED, Block
from agent.notices.capacity_block import CapacityBlockSource
from agent.slurm.node import SlurmNode
from agent.slurm.reservation import BlockReservation

logger = logging.getLogger(__name__)

LOOK_AGAIN: Final = 600.0
"""Seconds between looks at the reservation, in which another node may have written over us; a change of the block is
followed at once."""
TRY_AGAIN: Final = 60.0
"""Seconds, at most, after a look that failed: nodes that collided have to come apart."""
NOT_WORTH_IT: Final = timedelta(minutes=1)
"""Slurm makes no reservation that begins in the past."""


def show(source: CapacityBlockSource, capabilities: Capabilities) -> None:
    """Say whether the end of the block is known, and from whom."""
    block, error = source.block, source.error
    if error is not None:
        stands_in = "" if block is None else f"; what is known: it ends {stamp(block.ends_at)}"
        capabilities.off(Name.CAPACITY_BLOCK, f"{error.subject}: {error.detail}{stands_in}", error.hint)
    elif block is not None:
        capabilities.on(Name.CAPACITY_BLOCK, f"{block.reservation} ends {stamp(block.ends_at)}")
    elif source.answered:
        capabilities.on(Name.CAPACITY_BLOCK, "this instance is in none")


class Reserving:
    """Keeps the block's reservation in Slurm where it is `wanted`. Nobody waits for it."""

    def __init__(
        self,
        source: CapacityBlockSource,
        slurm_node: Callable[[], Awaitable[SlurmNode | None]],
        *,
        wanted: bool,
        clock: Clock,
        chance: Chance,
    ) -> None:
        self._source = source
        self._slurm_node = slurm_node
        self._wanted = wanted
        self._clock = clock
        self._chance = chance
        self._woken = asyncio.Event()
        self._made: BlockReservation | None = None
        self.trouble: Trouble | None = None

    def wake(self) -> None:
        """Look now: the block may have changed."""
        self._woken.set()

    async def run(self) -> None:
        """Keep it until cancelled."""
        while self._wanted:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._pause()):
                    await self._woken.wait()
            self._woken.clear()
            try:
                await self._look()
            except AgentError as error:
                self._troubled(error)
            else:
                self.trouble = None

    def _pause(self) -> float:
        return LOOK_AGAIN if self.trouble is None else TRY_AGAIN * self._chance.fraction()

    async def _look(self) -> None:
        """Do what the block calls for. One whose end is not known for sure just now is left as it is."""
        block = self._source.block
        if self._source.error is not None:
            return
        if block is None or block.reservation == CONFIGURED:
            await self._forget()
        elif block.taken_at - self._clock.now() > NOT_WORTH_IT:
            await self._keep(block)

    async def _keep(self, block: Block) -> None:
        node = await self._slurm_node()
        if node is None:
            return
        self._made = BlockReservation(block.reservation, node.scontrol)
        await self._made.ensure(node.name, start=block.taken_at, length=block.ends_at - block.taken_at)

    async def _forget(self) -> None:
        if self._made is not None:
            await self._made.delete()
            self._made = None

    def _troubled(self, error: AgentError) -> None:
        what = f"{error.op} {error.subject}: {error.detail}"
        if self.trouble is None:
            logger.warning("%s", error)
        since = self._clock.now() if self.trouble is None else self.trouble.since
        self.trouble = Trouble(what=what, hint=error.hint, since=since)
