import asyncio
import logging
from contextlib import asynccontextmanager, suppress
from datetime import timedelta

import pytest

from agent.chance import SeededChance
from agent.errors import TransientError
from agent.model.notice import Notice, NoticeKind
from agent.notices.source import Sighting
from agent.notices.watcher import Health, Watcher
from tests.fakes.imds_time import START, LoopClock, play

NOTICE = Sighting(id="x", kind=NoticeKind.SPOT_TERMINATE, ends_at=START + timedelta(seconds=120), source="stage")
MOVED = Sighting(id="x", kind=NoticeKind.SPOT_TERMINATE, ends_at=START + timedelta(seconds=240), source="stage")
UNKNOWN = TransientError("look at", "the stage", "curtain down", hint="raise it")


class Stage:
    """A source that shows what the test puts on it; an error is raised. `looks` are the times it was looked at."""

    name = "stage"

    def __init__(self, shown=(), *, interval=1.0, takes=0.0):
        self.shown = shown
        self.interval = interval
        self.takes = takes
        self.looks = []

    async def look(self):
        self.looks.append(asyncio.get_running_loop().time())
        shown = self.shown
        await asyncio.sleep(self.takes)
        if isinstance(shown, Exception):
            raise shown
        return shown


@asynccontextmanager
async def watching(stage, **more):
    reports = []
    watcher = Watcher(
        stage, report=reports.append, clock=more.pop("clock", None) or LoopClock(), chance=SeededChance(1), **more
    )
    task = asyncio.create_task(watcher.run(), name="watcher")
    try:
        yield watcher, reports
        assert not task.done(), "a watcher never ends by itself"
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


def ids(reports):
    return [sorted(notice.id for notice in report.notices) for report in reports]


def test_the_first_look_reports_even_when_there_is_nothing():
    async def scene():
        async with watching(Stage()) as (watcher, reports):
            await asyncio.sleep(10.5)
            assert [(report.source, report.notices) for report in reports] == [("stage", frozenset())]
            assert watcher.health == Health(last_success=1010.0)

    play(scene)


def test_only_changes_are_reported():
    async def scene():
        stage = Stage()
        async with watching(stage) as (watcher, reports):
            await asyncio.sleep(3.5)
            stage.shown = (NOTICE,)
            await asyncio.sleep(3)
            stage.shown = (MOVED,)
            await asyncio.sleep(3)
            stage.shown = ()
            await asyncio.sleep(3)
            assert ids(reports) == [[], ["x"], ["x"], []]
            assert [notice.due for report in reports for notice in report.notices] == [1120.0, 1240.0]
            assert watcher.notices == frozenset()

    play(scene)


def test_p5_an_unknown_source_withdraws_nothing_and_reports_nothing(caplog):
    async def scene():
        stage = Stage((NOTICE,))
        async with watching(stage) as (watcher, reports):
            await asyncio.sleep(0.5)
            stage.shown = UNKNOWN
            await asyncio.sleep(600)
            assert ids(reports) == [["x"]]
            assert len(watcher.notices) == 1
            assert not watcher.health.is_well
            assert watcher.health.last_success == 1000.0
            assert watcher.health.failures == len(stage.looks) - 1
            assert (watcher.health.error, watcher.health.hint) == ("look at the stage: curtain down", "raise it")

    with caplog.at_level(logging.WARNING):
        play(scene)
    assert len(caplog.records) == 1, "one line for ten minutes of failures"


def test_p5_a_source_unknown_from_the_start_reports_nothing():
    async def scene():
        stage = Stage(UNKNOWN)
        async with watching(stage) as (watcher, reports):
            await asyncio.sleep(60)
            assert reports == []
            assert watcher.health.last_success is None
            stage.shown = ()
            await asyncio.sleep(2)
            assert ids(reports) == [[]]
            assert watcher.health.failures == 0
            assert watcher.health.error == ""

    play(scene)


@pytest.mark.parametrize("takes", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("outage", [1.0, 17.3, 600.0])
def test_p5_it_recovers_within_two_polls(takes, outage):
    async def scene():
        stage = Stage(UNKNOWN, takes=takes)
        async with watching(stage) as (watcher, reports):
            await asyncio.sleep(outage)
            stage.shown, stage.takes = (NOTICE,), 0.0
            await asyncio.sleep(2.0)
            assert ids(reports) == [["x"]]
            assert watcher.health.is_well

    play(scene)


def test_failing_looks_are_spread_out():
    async def scene():
        stage = Stage(UNKNOWN)
        async with watching(stage):
            await asyncio.sleep(300)
            gaps = [after - before for before, after in zip(stage.looks, stage.looks[1:], strict=False)]
            assert 150 <= len(stage.looks) <= 250
            assert len({round(gap, 3) for gap in gaps}) > 100
            assert max(gaps) <= 2.0

    play(scene)


def test_looks_keep_their_beat_when_answers_are_slow():
    async def scene():
        stage = Stage(takes=0.4)
        async with watching(stage):
            await asyncio.sleep(5.1)
            assert stage.looks == [1000.0, 1001.0, 1002.0, 1003.0, 1004.0, 1005.0]

    play(scene)


def test_an_interval_that_changes_counts_from_the_next_look():
    async def scene():
        stage = Stage(interval=10.0)
        async with watching(stage):
            await asyncio.sleep(5)
            stage.interval = 1.0
            await asyncio.sleep(7)
            assert len(stage.looks) in {3, 4}

    play(scene)


def test_a_woken_watcher_looks_at_once():
    async def scene():
        stage = Stage(interval=600.0)
        async with watching(stage) as (watcher, reports):
            await asyncio.sleep(5)
            stage.shown = (NOTICE,)
            watcher.wake()
            await asyncio.sleep(0)
            await asyncio.sleep(0.001)
            assert ids(reports) == [[], ["x"]]
            await asyncio.sleep(500)
            assert len(stage.looks) == 2

    play(scene)


def test_a_wake_during_a_look_is_not_lost():
    async def scene():
        stage = Stage(interval=600.0, takes=1.0)
        async with watching(stage) as (watcher, reports):
            await asyncio.sleep(0.5)
            stage.shown = (NOTICE,)
            watcher.wake()
            await asyncio.sleep(2)
            assert ids(reports) == [[], ["x"]]

    play(scene)


def known(due, source="stage"):
    return Notice(
        id="x", kind=NOTICE.kind, ends_at=NOTICE.ends_at, due=due, seen_at=START - timedelta(seconds=9), source=source
    )


def test_p7_a_notice_known_before_the_restart_keeps_its_due_and_is_reported_once():
    async def scene():
        async with watching(Stage((NOTICE,)), known=[known(1077.0), known(3.0, "elsewhere")]) as (watcher, reports):
            assert watcher.notices == {known(1077.0)}
            await asyncio.sleep(5)
            assert [report.notices for report in reports] == [frozenset({known(1077.0)})]

    play(scene)


def test_p7_a_notice_withdrawn_during_the_restart_is_reported_gone():
    async def scene():
        async with watching(Stage(), known=[known(1077.0)]) as (_, reports):
            await asyncio.sleep(1)
            assert ids(reports) == [[]]

    play(scene)


def test_p5_a_known_notice_stands_until_the_source_answers():
    async def scene():
        async with watching(Stage(UNKNOWN), known=[known(1077.0)]) as (watcher, reports):
            await asyncio.sleep(60)
            assert reports == []
            assert watcher.notices == {known(1077.0)}

    play(scene)


@pytest.mark.parametrize(("skew", "due"), [(None, 1120.0), (1.5, 1120.0), (30.0, 1090.0), (-30.0, 1150.0)])
def test_a_clear_skew_moves_the_deadline_and_a_small_one_does_not(skew, due):
    async def scene():
        async with watching(Stage((NOTICE,)), skew=lambda: skew) as (_, reports):
            await asyncio.sleep(0.1)
            (notice,) = reports[0].notices
            assert notice.due == due

    play(scene)


def test_a_jump_of_the_wall_clock_moves_no_deadline():
    async def scene():
        clock = LoopClock()
        async with watching(Stage((NOTICE,)), clock=clock) as (watcher, reports):
            await asyncio.sleep(5)
            clock.jump = timedelta(hours=-3)
            await asyncio.sleep(5)
            clock.jump = timedelta(hours=3)
            await asyncio.sleep(5)
            assert len(reports) == 1
            assert {notice.due for notice in watcher.notices} == {1120.0}

    play(scene)


def test_a_bug_in_a_source_is_not_hidden():
    async def scene():
        watcher = Watcher(Stage(KeyError("bug")), report=print, clock=LoopClock(), chance=SeededChance(1))
        with pytest.raises(KeyError):
            await watcher.run()

    play(scene)
