"""One loop per source: looks, settles what it sees, reports changes. It never ends, whatever the source does."""

import asyncio
import logging
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import replace

from agent.chance import Chance
from agent.clock import Clock
from agent.errors import TransientError
from agent.model.notice import Notice
from agent.notices.cadence import next_look
from agent.notices.sighting import Instant, settle
from agent.notices.source import Noticed, NoticeSource
from agent.value import value

logger = logging.getLogger(__name__)


@value
class Health:
    """How looking goes: the last success in `loop.time()`, the failures since then, what the last of them said."""

    last_success: float | None = None
    failures: int = 0
    error: str = ""
    hint: str = ""

    @property
    def is_well(self) -> bool:
        return self.failures == 0


def no_skew() -> float | None:
    """For a source whose times are by our own clock."""
    return None


class Watcher:
    """Calls `report` with all notices of `source`: after the first look that succeeds, then whenever the set changes.

    `known` are the notices that stood before a restart of the same boot: one that is seen again keeps its `due`. A look
    that fails reports nothing and withdraws nothing (P5). `report` is called in the loop and must not block.
    """

    def __init__(
        self,
        source: NoticeSource,
        *,
        report: Callable[[Noticed], None],
        clock: Clock,
        chance: Chance,
        skew: Callable[[], float | None] = no_skew,
        known: Iterable[Notice] = (),
    ) -> None:
        self._source = source
        self._report = report
        self._clock = clock
        self._chance = chance
        self._skew = skew
        self._notices = frozenset(notice for notice in known if notice.source == source.name)
        self._reported = False
        self._woken = asyncio.Event()
        self._health = Health()

    @property
    def name(self) -> str:
        return self._source.name

    @property
    def health(self) -> Health:
        return self._health

    @property
    def notices(self) -> frozenset[Notice]:
        """What stands as far as we know: what was known at start until the first look that succeeds."""
        return self._notices

    def wake(self) -> None:
        """Look now: something changed that the source can already show."""
        self._woken.set()

    async def run(self) -> None:
        """Watch until cancelled."""
        loop = asyncio.get_running_loop()
        due = loop.time()
        while True:
            self._woken.clear()
            await self._look()
            due = next_look(
                due,
                now=loop.time(),
                interval=self._source.interval,
                failures=self._health.failures,
                fraction=self._chance.fraction(),
            )
            with suppress(TimeoutError):
                async with asyncio.timeout_at(due):
                    await self._woken.wait()
            due = min(due, loop.time())

    async def _look(self) -> None:
        try:
            sightings = await self._source.look()
        except TransientError as error:
            self._failed(error)
            return
        self._succeeded()
        now = Instant(wall=self._clock.now(), mono=asyncio.get_running_loop().time(), skew=self._skew())
        notices = settle({notice.id: notice for notice in self._notices}, sightings, now=now)
        if notices != self._notices or not self._reported:
            self._notices = notices
            self._reported = True
            self._report(Noticed(source=self.name, notices=notices))

    def _failed(self, error: TransientError) -> None:
        if self._health.is_well:
            logger.warning("%s is unknown: %s", self.name, error)
        self._health = replace(
            self._health,
            failures=self._health.failures + 1,
            error=f"{error.op} {error.subject}: {error.detail}",
            hint=error.hint,
        )

    def _succeeded(self) -> None:
        if not self._health.is_well:
            logger.info("%s is known again after %d failures", self.name, self._health.failures)
        self._health = Health(last_success=asyncio.get_running_loop().time())
