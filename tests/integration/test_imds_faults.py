"""The whole watch over a real wire: every fault of IMDS, before, during and after a notice."""

import asyncio
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta

import pytest

from agent.chance import SeededChance
from agent.clock import SystemClock
from agent.demo.imds import EmbeddedImds, Fault
from agent.imds.client import Imds
from agent.model.notice import NoticeKind
from agent.notices.spot import SpotSource, TerminationTime
from agent.notices.watcher import Watcher

POLL = 0.1
"""Seconds: ten times faster than on a node."""
LIMIT = 0.3
"""Seconds for one question: long enough for a busy machine."""


class Watch:
    """A Spot watcher and what it reported."""

    def __init__(self, server, imds):
        self.server = server
        self.imds = imds
        self.reports = []
        self.changed = asyncio.Event()
        self.watcher = Watcher(
            SpotSource(imds, interval_when_spot=POLL),
            report=self.take,
            clock=SystemClock(),
            chance=SeededChance(3),
            skew=lambda: imds.skew,
        )

    def take(self, noticed):
        self.reports.append(noticed.notices)
        self.changed.set()

    async def next(self, seconds):
        """Return the next report; fail when it does not come within `seconds`."""
        async with asyncio.timeout(seconds):
            await self.changed.wait()
        self.changed.clear()
        return self.reports[-1]

    async def fails(self, times):
        """Wait until looking has failed `times` in a row."""
        async with asyncio.timeout(10):
            while self.watcher.health.failures < times:  # noqa: ASYNC110 - the health is read, not announced
                await asyncio.sleep(0.01)


@asynccontextmanager
async def watch(fault=None):
    server = EmbeddedImds()
    await server.start()
    try:
        await server.fault(fault)
        async with Imds(endpoint=server.endpoint, clock=SystemClock(), seconds=LIMIT) as imds:
            watching = Watch(server, imds)
            task = asyncio.create_task(watching.watcher.run(), name="spot watcher")
            yield watching
            assert not task.done()
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
    finally:
        await server.stop()


# Two polls and what a busy machine may add. That it is two polls to the point is shown in tests/unit on a virtual loop.
WITHIN_TWO_POLLS = 2 * POLL + 1.0


@pytest.mark.parametrize("fault", Fault)
async def test_p5_a_faulty_imds_is_no_notice_and_shows_in_the_health(fault):
    async with watch(fault) as here:
        await here.fails(3)
        assert here.reports == []
        assert here.watcher.health.error
        assert here.watcher.health.hint
        assert here.watcher.health.last_success is None
        await here.server.fault(None)
        assert await here.next(WITHIN_TWO_POLLS) == frozenset()
        assert here.watcher.health.failures == 0


@pytest.mark.parametrize("fault", Fault)
async def test_p5_a_fault_neither_hides_a_notice_for_ever_nor_withdraws_one(fault):
    async with watch() as here:
        assert await here.next(2) == frozenset()
        await here.server.fault(fault)
        await here.fails(2)
        here.server.interrupt()
        await here.fails(3)
        await here.server.fault(None)
        (notice,) = await here.next(WITHIN_TWO_POLLS)
        assert notice.kind is NoticeKind.SPOT_TERMINATE
        await here.server.fault(fault)
        await here.fails(3)
        assert here.watcher.notices == {notice}
        here.server.withdraw()
        await here.server.fault(None)
        assert await here.next(WITHIN_TWO_POLLS) == frozenset()
        assert len(here.reports) == 3


async def test_a_notice_arrives_changes_and_goes():
    async with watch() as here:
        await here.next(2)
        soon = datetime.now(UTC).replace(microsecond=0) + timedelta(minutes=2)
        here.server.interrupt("terminate", soon)
        (first,) = await here.next(1)
        assert first.ends_at == soon
        assert first.due - asyncio.get_running_loop().time() == pytest.approx(120, abs=2)
        here.server.interrupt("stop", soon)
        (second,) = await here.next(1)
        assert (second.id, second.kind, second.due) == (first.id, NoticeKind.SPOT_STOP, first.due)
        here.server.interrupt("stop", soon + timedelta(seconds=60))
        (third,) = await here.next(1)
        assert third.due - first.due == pytest.approx(60, abs=1)
        here.server.withdraw()
        assert await here.next(1) == frozenset()


@pytest.mark.parametrize(("past", "stale"), [(60, False), (400, True)])
async def test_p5_a_time_just_past_is_now_and_an_older_one_is_stale(past, stale):
    async with watch() as here:
        await here.next(2)
        here.server.interrupt("terminate", datetime.now(UTC) - timedelta(seconds=past))
        (notice,) = await here.next(1)
        assert notice.stale is stale
        assert notice.due <= asyncio.get_running_loop().time()


async def test_an_unknown_action_is_terminate():
    async with watch() as here:
        await here.next(2)
        here.server.interrupt("evaporate")
        (notice,) = await here.next(1)
        assert notice.kind is NoticeKind.SPOT_TERMINATE


async def test_a_node_whose_clock_is_wrong_has_the_deadline_of_imds():
    async with watch() as here:
        await here.next(2)
        here.server.skew = 600
        here.server.interrupt("terminate", datetime.now(UTC) + timedelta(seconds=720))
        (notice,) = await here.next(1)
        assert notice.due - asyncio.get_running_loop().time() == pytest.approx(120, abs=3)


async def test_a_token_that_ends_mid_life_costs_no_poll():
    async with watch() as here:
        await here.next(2)
        here.server.forget_tokens()
        here.server.interrupt()
        assert len(await here.next(1)) == 1
        assert here.watcher.health.failures == 0


async def test_p5_termination_time_alone_drains_nothing():
    async with watch() as here:
        await here.next(2)
        here.server.paths["meta-data/spot/termination-time"] = "2026-11-23T09:17:00Z"
        confirmation = TerminationTime(here.imds)
        assert await confirmation.look() == ()
        await asyncio.sleep(3 * POLL)
        assert here.reports == [frozenset()]
        assert confirmation.said == datetime(2026, 11, 23, 9, 17, tzinfo=UTC)


async def test_a_path_that_hangs_does_not_hide_the_notice():
    async with watch() as here:
        await here.next(2)
        await here.server.fault(Fault.HANG, below="meta-data/spot/termination-time")
        confirmation = Watcher(
            TerminationTime(here.imds), report=here.take, clock=SystemClock(), chance=SeededChance(3)
        )
        task = asyncio.create_task(confirmation.run(), name="confirmation watcher")
        await asyncio.sleep(POLL / 2)
        here.server.interrupt()
        assert len(await here.next(1)) == 1
        assert here.watcher.health.failures == 0
        task.cancel()
