"""The end of a Capacity Block: IMDS says nothing of it, EC2 is asked by a short-lived child, rarely."""

import asyncio
import logging
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from agent.clock import Clock, stamp
from agent.imds.identity import identify
from agent.imds.metadata import Metadata
from agent.model.node import Identity
from agent.model.notice import Notice
from agent.notices.block import CONFIGURED, SOURCE, Block, BlockUnknown, configured, read_answer, sighting_of, unpaid
from agent.notices.schedule import first_pause, pause, share_of
from agent.notices.source import Sighting
from agent.processes import ChildMissing, ChildTimedOut, Processes

logger = logging.getLogger(__name__)

ASK_SECONDS: Final = 15.0
"""Seconds for the child; it limits its question to 10."""
IDLE_INTERVAL: Final = 600.0
"""Seconds between looks that do nothing."""
FIRST_INTERVAL: Final = 10.0
"""Seconds between looks while IMDS has not told who we are."""

SPOT: Final = "spot"
ON_DEMAND: Final = "on-demand"
IN_BLOCK: Final = "capacity-block"
"""As the EC2 API calls it. Whether IMDS prints the same is not documented: every word but "spot" is asked about."""


class CapacityBlockSource:
    """Shows the end of the block as soon as it is known; what was known stays until EC2 says otherwise (P5).

    A Spot node never asks, one that is in no block asks once. While nothing is known and EC2 does not say, `end` (a
    setting: EndDate as EC2 prints it) stands in. `restored` are the notices of the journal. `changed` is called after
    each question. With `ask` false only `end` counts.
    """

    name = SOURCE

    def __init__(
        self,
        imds: Metadata,
        *,
        processes: Processes,
        clock: Clock,
        end: str = "",
        ask: bool = True,
        restored: Iterable[Notice] = (),
        changed: Callable[[], None] = lambda: None,
    ) -> None:
        self._imds = imds
        self._processes = processes
        self._clock = clock
        self._end = end
        self._ask_at_all = ask
        self._changed = changed
        self._identity: Identity | None = None
        known = {notice.id: _sighting(notice) for notice in restored if notice.source == self.name}
        self._end_stood = known.pop(f"{self.name}:{CONFIGURED}", None) is not None
        self._kept = next(iter(known.values()), None)
        self._failures = 0
        self._ask_at: float | None = 0.0
        self.block: Block | None = None
        """The block as last told, by EC2 or by the setting."""
        self.error: BlockUnknown | None = None
        """Why the last question went unanswered."""
        self.answered = False
        """Whether it is known that there is a block or none."""

    @property
    def interval(self) -> float:
        if self._identity is None:
            return FIRST_INTERVAL
        if self._ask_at is None:
            return IDLE_INTERVAL
        left = self._ask_at - asyncio.get_running_loop().time()
        # The watcher stretches the interval of a source that fails up to twofold; the schedule has backed off already.
        return max(1.0, left if self.error is None else left / 2)

    async def look(self) -> Sequence[Sighting]:
        """Return the notice that stands. Raises TransientError while EC2 does not say whether it still does."""
        if self._identity is None:
            self._identity = await identify(self._imds)
            self._begin(self._identity)
        if self._ask_at is not None and asyncio.get_running_loop().time() >= self._ask_at:
            await self._ask(self._identity)
        if self.error is not None and self._kept is not None:
            raise BlockUnknown(self.error.detail, hint=self.error.hint, sort=self.error.sort) from self.error
        if self._kept is not None:
            return (self._kept,)
        return () if self.block is None else (sighting_of(self.block, self._identity.instance_id),)

    def _begin(self, identity: Identity) -> None:
        if not self._ask_at_all or identity.life_cycle == SPOT:
            self._ask_at, self.answered, self._kept = None, True, None
            self.block = None if identity.life_cycle == SPOT else self._configured(identity)
            self._changed()
            return
        in_block = identity.life_cycle == IN_BLOCK or self._kept is not None or self._end_stood
        wait = first_pause(in_block=in_block, share=share_of(identity.instance_id))
        self._ask_at = asyncio.get_running_loop().time() + wait
        if in_block and self._kept is None:
            self.block = self._configured(identity)

    async def _ask(self, identity: Identity) -> None:
        # Before the question: one that is cancelled has been asked all the same.
        self._ask_at = self._next(identity, failures=self._failures + 1)
        try:
            block = read_answer(await self._answer(identity), instance_type=identity.instance_type)
        except BlockUnknown as error:
            self._failed(error, identity)
        else:
            self._told(unpaid(block, self._kept, identity.instance_id), identity)
        self._ask_at = self._next(identity, failures=self._failures)
        self._changed()

    async def _answer(self, identity: Identity) -> str:
        argv = [sys.executable, "-m", "agent.aws.reservation", "--instance-id", identity.instance_id]
        if self._kept is not None:
            argv += ["--reservation", self._kept.id.removeprefix(f"{self.name}:")]
        if identity.region:
            argv += ["--region", identity.region]
        try:
            return (await self._processes.run(argv, seconds=ASK_SECONDS)).out
        except (ChildTimedOut, ChildMissing) as error:
            raise BlockUnknown(error.detail) from error

    def _failed(self, error: BlockUnknown, identity: Identity) -> None:
        self._failures += 1
        self.error = error
        if self._kept is None:
            self.block = self._configured(identity)

    def _told(self, block: Block | None, identity: Identity) -> None:
        kept = None if block is None else sighting_of(block, identity.instance_id)
        if kept != self._kept:
            logger.info("Capacity Block: %s", "none" if block is None else _in_words(block))
        self._failures, self.error, self.answered = 0, None, True
        self.block, self._kept = block, kept

    def _next(self, identity: Identity, *, failures: int) -> float | None:
        """Return when to ask again; never, once it is known that there is no block.

        EC2 that calls our life cycle a block and knows none contradicts itself: that is asked again.
        """
        if failures == 0 and self._kept is None and identity.life_cycle != IN_BLOCK:
            return None
        sort = "" if self.error is None else self.error.sort
        if failures and sort == "denied" and identity.life_cycle == ON_DEMAND and self._kept is None:
            return None
        wait = pause(
            left=self._left(),
            failures=failures,
            sort=sort,
            now=self._clock.now().timestamp(),
            share=share_of(identity.instance_id),
        )
        return asyncio.get_running_loop().time() + wait

    def _left(self) -> float | None:
        ends_at = self._kept.ends_at if self._kept else self.block.taken_at if self.block else None
        return None if ends_at is None else (ends_at - self._clock.now()).total_seconds()

    def _configured(self, identity: Identity) -> Block | None:
        return configured(self._end, instance_type=identity.instance_type)


def _sighting(notice: Notice) -> Sighting:
    return Sighting(id=notice.id, kind=notice.kind, ends_at=notice.ends_at, source=notice.source)


def _in_words(block: Block) -> str:
    return f"{block.reservation} ends {stamp(block.ends_at)}, instances are taken from {stamp(block.taken_at)}"
