from datetime import UTC, datetime, timedelta

import pytest

from agent.errors import TransientError
from agent.imds import documents
from agent.imds.unavailable import Reason
from agent.model.notice import NoticeKind
from agent.notices.asg import AsgSource, threat
from agent.notices.sighting import Instant, settle
from tests.fakes.imds import FakeMetadata

NOON = datetime(2026, 11, 23, 12, 0, 0, 123456, tzinfo=UTC)
TO_THE_MILLISECOND = NOON.replace(microsecond=123000)
WINDOW = timedelta(minutes=5)
ASG, POOL = NoticeKind.ASG_TERMINATE, NoticeKind.WARM_POOL_RETURN


class Stage:
    """The source on an IMDS and a wall clock that the test turns."""

    def __init__(self, **parts):
        self.imds = FakeMetadata()
        self.time = NOON
        self.source = AsgSource(self.imds, clock=self, hook_window=WINDOW, **parts)

    def now(self):
        return self.time

    async def look(self, target):
        """Return what is seen when IMDS shows `target`, None for 404."""
        self.imds.paths = {} if target is None else {documents.TARGET_STATE: target.encode()}
        return await self.source.look()


@pytest.mark.parametrize(
    ("target", "fresh", "after_service"),
    [
        ("", None, None),
        ("InService", None, None),
        ("Standby", None, None),
        ("Detached", None, None),
        ("Terminated", ASG, ASG),
        ("Terminating:Wait", ASG, ASG),
        ("Terminating:Retained", ASG, ASG),
        ("Warmed:Running", None, None),
        ("Warmed:Stopped", None, POOL),
        ("Warmed:Hibernated", None, POOL),
        ("Warmed:Terminated", None, ASG),
        ("Warmed:Terminating:Wait", None, ASG),
        ("Warmed:Pending:Retained", None, None),
        ("ReplacingRootVolume", None, None),
        ("TerminatedPerhaps", None, None),
        ("NeverHeardOf", None, None),
    ],
)
def test_what_a_target_means_depends_on_whether_the_instance_has_been_in_service(target, fresh, after_service):
    assert threat(target, was_in_service=False) is fresh
    assert threat(target, was_in_service=True) is after_service


async def test_outside_a_group_there_is_nothing():
    stage = Stage()
    assert await stage.look(None) == ()
    assert (stage.source.target, stage.source.standing_by, stage.source.was_in_service) == ("", False, False)


async def test_the_end_does_not_move_with_the_polls_nor_with_the_clock():
    stage = Stage()
    (first,) = await stage.look("Terminated")
    assert (first.kind, first.ends_at) == (ASG, TO_THE_MILLISECOND + WINDOW)
    for step in (timedelta(seconds=10), timedelta(hours=3), timedelta(hours=-9)):
        stage.time += step
        assert await stage.look("Terminated") == (first,)


async def test_a_restart_keeps_the_notice_of_the_journal():
    stage = Stage()
    known = settle({}, await stage.look("Terminated"), now=Instant(wall=NOON, mono=1000.0))
    restarted = Stage(restored=known)
    restarted.time += timedelta(minutes=2)
    again = await restarted.look("Terminated")
    later = Instant(wall=restarted.time, mono=1120.0)
    assert settle({notice.id: notice for notice in known}, again, now=later) == known


async def test_a_restart_into_another_target_withdraws_or_begins_anew():
    known = settle({}, await Stage().look("Terminated"), now=Instant(wall=NOON, mono=1000.0))
    assert await Stage(restored=known).look("InService") == ()
    assert await Stage(restored=known).look(None) == ()
    (other,) = await Stage(restored=known, was_in_service=True).look("Warmed:Stopped")
    assert (other.id, other.kind) == ("asg:Warmed:Stopped#2", POOL)


async def test_a_target_that_comes_back_is_another_notice_with_an_end_of_its_own():
    stage = Stage()
    (first,) = await stage.look("Terminated")
    assert await stage.look("InService") == ()
    stage.time += timedelta(hours=1)
    (second,) = await stage.look("Terminated")
    assert first.id != second.id
    assert second.ends_at - first.ends_at == timedelta(hours=1)


async def test_in_the_warm_pool_the_agent_stands_by_until_the_instance_has_been_in_service():
    stage = Stage()
    for target in ("Warmed:Stopped", "Warmed:Hibernated", "Warmed:Running", "Warmed:NeverHeardOf"):
        assert await stage.look(target) == ()
        assert stage.source.standing_by
    assert await stage.look("InService") == ()
    assert (stage.source.standing_by, stage.source.was_in_service) == (False, True)
    assert len(await stage.look("Warmed:Stopped")) == 1
    assert not stage.source.standing_by


async def test_a_warm_pool_of_running_instances_takes_nothing():
    stage = Stage(was_in_service=True)
    assert await stage.look("Warmed:Running") == ()
    assert stage.source.standing_by


async def test_p5_what_is_no_state_is_unknown_and_the_notice_stays_as_it_was():
    stage = Stage()
    (first,) = await stage.look("Terminated")
    with pytest.raises(TransientError):
        await stage.look("<html>")
    stage.time += timedelta(minutes=1)
    assert await stage.look("Terminated") == (first,)


@pytest.mark.parametrize("reason", Reason)
async def test_p5_an_imds_that_does_not_answer_is_unknown_not_nothing(reason):
    stage = Stage()
    stage.imds.broken = reason
    with pytest.raises(TransientError):
        await stage.look("Terminated")
