from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.model.notice import NoticeKind
from agent.notices.sighting import Instant, settle
from agent.notices.source import Sighting

WALL = datetime(2026, 11, 23, 9, 15, tzinfo=UTC)
MONO = 5000.0


def sighting(seconds, id_="spot:i-1", kind=NoticeKind.SPOT_TERMINATE):
    return Sighting(id=id_, kind=kind, ends_at=WALL + timedelta(seconds=seconds), source="spot")


def instant(*, later=0.0, jump=0.0, skew=None):
    """A moment `later` than the first; somebody has set our wall clock by `jump` since."""
    return Instant(wall=WALL + timedelta(seconds=later + jump), mono=MONO + later, skew=skew)


def by_id(notices):
    return {notice.id: notice for notice in notices}


def only(notices):
    (notice,) = notices
    return notice


@pytest.mark.parametrize(
    ("seconds", "skew", "due_in", "stale"),
    [
        (120, None, 120, False),
        (120, 0.0, 120, False),
        (120, 2.0, 120, False),
        (120, -2.0, 120, False),
        (120, 3.0, 117, False),
        (120, -3600.0, 3720, False),
        (0, None, 0, False),
        (-1, None, 0, False),
        (-300, None, 0, False),
        (-301, None, 0, True),
        (-301, -100.0, 0, False),
        (120, 3600.0, 0, True),
        (-86400 * 365, None, 0, True),
        (86400, None, 86400, False),
    ],
)
def test_p5_when_first_seen_a_time_is_due_past_or_stale(seconds, skew, due_in, stale):
    notice = only(settle({}, [sighting(seconds)], now=instant(skew=skew)))
    assert notice.due == MONO + due_in
    assert notice.stale is stale
    assert (notice.seen_at, notice.source, notice.kind) == (WALL, "spot", NoticeKind.SPOT_TERMINATE)


@pytest.mark.parametrize("jump", [0, -7200, 7200])
@pytest.mark.parametrize("skew", [None, 500.0])
def test_the_same_notice_seen_again_is_the_same_object_whatever_the_wall_clock_says(jump, skew):
    first = settle({}, [sighting(120)], now=instant())
    again = settle(by_id(first), [sighting(120)], now=instant(later=60, jump=jump, skew=skew))
    assert only(again) is only(first)


def test_a_changed_time_moves_due_and_keeps_when_it_was_first_seen():
    first = settle({}, [sighting(120)], now=instant())
    moved = only(settle(by_id(first), [sighting(300)], now=instant(later=10)))
    assert (moved.due, moved.seen_at, moved.id) == (MONO + 300, WALL, only(first).id)


def test_a_changed_action_changes_the_kind_and_nothing_else():
    first = settle({}, [sighting(120)], now=instant())
    changed = only(settle(by_id(first), [sighting(120, kind=NoticeKind.SPOT_STOP)], now=instant(later=10, jump=99)))
    assert changed.kind is NoticeKind.SPOT_STOP
    assert changed.due == only(first).due


def test_a_notice_that_vanished_is_gone_and_the_others_stay():
    first = settle({}, [sighting(120), sighting(500, "other")], now=instant())
    after = settle(by_id(first), [sighting(500, "other")], now=instant(later=1))
    assert after == {by_id(first)["other"]}
    assert settle(by_id(first), [], now=instant()) == frozenset()


def test_a_stale_notice_stays_stale_until_its_time_moves_into_reach():
    stale = settle({}, [sighting(-900)], now=instant())
    assert only(settle(by_id(stale), [sighting(-900)], now=instant(later=5))) is only(stale)
    assert only(settle(by_id(stale), [sighting(-800)], now=instant(later=5))).stale
    revived = only(settle(by_id(stale), [sighting(60)], now=instant(later=5)))
    assert (revived.stale, revived.due) == (False, MONO + 60)


def test_a_notice_seen_in_time_does_not_become_stale():
    first = settle({}, [sighting(120)], now=instant())
    assert not only(settle(by_id(first), [sighting(120)], now=instant(later=3600))).stale
    back = only(settle(by_id(first), [sighting(-3600)], now=instant(later=10)))
    assert (back.stale, back.due) == (False, MONO + 10)


def test_a_notice_of_the_journal_keeps_its_due_over_a_restart():
    known = settle({}, [sighting(120)], now=instant())
    assert settle(by_id(known), [sighting(120)], now=instant(later=30, jump=-40)) == known


def test_of_two_sightings_with_one_id_the_earlier_counts():
    for order in ([sighting(60), sighting(90)], [sighting(90), sighting(60)]):
        assert only(settle({}, order, now=instant())).due == MONO + 60


looks = st.lists(
    st.lists(st.builds(sighting, st.integers(-4000, 4000), st.sampled_from(["a", "b", "c"])), max_size=4),
    max_size=6,
)


@given(looks=looks, jumps=st.lists(st.integers(-9000, 9000), min_size=6, max_size=6))
def test_whatever_is_seen_each_id_is_once_and_nothing_is_due_before_it_was_seen(looks, jumps):
    previous = {}
    for step, (seen, jump) in enumerate(zip(looks, jumps, strict=False)):
        now = instant(later=step, jump=jump)
        notices = settle(previous, seen, now=now)
        assert {notice.id for notice in notices} == {one.id for one in seen}
        assert len(notices) == len(by_id(notices))
        for notice in notices:
            assert notice.due >= MONO
            before = previous.get(notice.id)
            if before is not None and before.ends_at == notice.ends_at:
                assert notice == before
        assert settle(by_id(notices), seen, now=instant(later=step + 1, jump=-jump)) == notices
        previous = by_id(notices)


def test_a_source_may_know_how_long_a_past_notice_means_something():
    hour = replace(sighting(-3600), fresh_for=timedelta(hours=1))
    assert not only(settle({}, [hour], now=instant())).stale
    assert only(settle({}, [hour], now=instant(later=1))).stale


def test_a_changed_code_changes_the_code_and_nothing_else():
    first = settle({}, [replace(sighting(120), code="system-reboot")], now=instant())
    changed = only(settle(by_id(first), [replace(sighting(120), code="instance-stop")], now=instant(later=10, jump=99)))
    assert (changed.code, changed.due) == ("instance-stop", only(first).due)
