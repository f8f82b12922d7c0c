"""How the window is shared out."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from agent.evacuation.jobs import Held
from agent.evacuation.phases import Phase
from agent.evacuation.plan import (
    BLIND_WINDOW,
    DELTA_SHARE,
    LEAST_DELTA,
    OUTLIVED,
    STOPPING_SHARE,
    delta_bytes,
    delta_seconds,
    due,
    forecast,
    plan,
)
from agent.evacuation.state import Effects, Evacuation
from agent.model.mode import Mode
from agent.model.notice import Notice, NoticeKind
from agent.model.progress import Progress

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)


def evacuation(window, phase=Phase.COPYING, kind=NoticeKind.SPOT_TERMINATE):
    spot = Notice(id="a", kind=kind, ends_at=NOON, due=1000 + window, seen_at=NOON, source="spot")
    return Evacuation(
        effects=Effects.of(Mode.ACT),
        phase=phase,
        at=1000.0,
        notices=frozenset({spot}),
        entered={Phase.DRAINING: 1000.0},
    )


def test_two_minutes_are_copied_into_but_for_the_margin():
    times = plan(evacuation(120), safety_margin=15)
    assert (times.copy_until, times.commit_until, times.release_until) == (1105, 1115, 1120)
    assert times.rest_until == 1120 + OUTLIVED


def test_a_node_stays_drained_until_the_window_of_its_event_is_over():
    state = evacuation(900, kind=NoticeKind.SCHEDULED_EVENT)
    (event,) = state.notices
    in_window = replace(state, notices=frozenset({replace(event, lasts=7200.0)}))
    assert plan(state, safety_margin=15).rest_until == 1900 + OUTLIVED
    assert plan(in_window, safety_margin=15).rest_until == 1900 + 7200 + OUTLIVED


def test_the_margin_is_at_most_a_quarter_of_a_short_window():
    assert plan(evacuation(40), safety_margin=15).copy_until == 1030


@pytest.mark.parametrize("window", [-200, 0, 5])
def test_a_notice_that_says_now_is_worked_on_until_the_end_comes(window):
    assert plan(evacuation(window), safety_margin=15).release_until == 1000 + BLIND_WINDOW


def test_the_times_of_the_phases_come_in_order():
    phases = [Phase.DRAINING, Phase.COPYING, Phase.COMMITTING, Phase.RELEASING, Phase.RESTING]
    times = [due(evacuation(120, phase), safety_margin=15) for phase in phases]
    assert times == sorted(times)
    assert times[0] == 1001


def test_lifting_a_drain_has_no_limit():
    assert due(evacuation(120, Phase.RETURNING), safety_margin=15) is None


def test_the_forecast_says_whether_it_fits():
    moving = Progress(files_total=2, bytes_total=1000, bytes_done=200)
    assert forecast(moving, bytes_per_second=10, seconds=100).fits
    assert not forecast(moving, bytes_per_second=10, seconds=79).fits
    assert forecast(moving, bytes_per_second=0, seconds=79).fits is None
    assert forecast(Progress(walked=True), bytes_per_second=0, seconds=1).fits


def test_a_node_of_a_capacity_block_rests_until_ec2_has_had_its_time_to_take_it():
    assert plan(evacuation(600, kind=NoticeKind.CAPACITY_BLOCK_END), safety_margin=15).rest_until == 1600 + 70 * 60


def test_a_share_of_the_copy_is_taken_to_change_while_nobody_has_looked():
    assert delta_bytes(1000, changing=None, seconds=100, tree=10_000) == DELTA_SHARE * 1000


def test_what_changes_is_the_measured_rate_for_the_time_that_is_left_and_no_more_than_there_is():
    assert delta_bytes(1000, changing=2.0, seconds=100, tree=10_000) == 200
    assert delta_bytes(1000, changing=2e6, seconds=100, tree=10_000) == 10_000
    assert delta_bytes(1000, changing=2e6, seconds=100, tree=None) == 1000
    assert delta_bytes(1000, changing=0.0, seconds=100, tree=None) == 0


def test_a_last_delta_takes_its_bytes_at_the_measured_rate_and_its_beginning():
    assert delta_seconds(500, bytes_per_second=100, is_known=False) == LEAST_DELTA + 5
    assert delta_seconds(500, bytes_per_second=0, is_known=True) is None
    assert delta_seconds(0, bytes_per_second=0, is_known=True) == LEAST_DELTA
    assert delta_seconds(0, bytes_per_second=0, is_known=False) is None


def stopping(*, stop, delta, window=30, began=None):
    held = Held(ref="7", id=7, uid=4242, user="alice", life=0)
    state = replace(evacuation(window), jobs={"7": held}, stop_seconds=stop, delta_seconds=delta)
    if began is None:
        return state
    return replace(state, phase=Phase.STOPPING, entered={**state.entered, Phase.STOPPING: began})


def test_a_last_delta_that_looks_long_takes_no_time_from_the_end_of_the_jobs():
    times = plan(stopping(stop=7.0, delta=300.0), safety_margin=15)
    assert times.stop_until - times.stop_at == 7
    assert times.copy_until - times.stop_at == pytest.approx(STOPPING_SHARE * (times.copy_until - 1000))


def test_where_kill_wait_is_longer_than_the_window_the_last_delta_has_its_least():
    times = plan(stopping(stop=32.0, delta=300.0, window=120), safety_margin=15)
    assert times.stop_until - times.stop_at == 32
    short = plan(stopping(stop=32.0, delta=300.0, window=24), safety_margin=15)
    assert short.copy_until - short.stop_until == LEAST_DELTA


def test_stopping_that_has_begun_gets_its_time_whatever_the_plan_says_later():
    before = plan(stopping(stop=7.0, delta=3.0), safety_margin=15)
    after = plan(stopping(stop=7.0, delta=300.0, began=before.stop_at), safety_margin=15)
    assert (after.stop_until, after.copy_until) == (before.stop_until, before.copy_until)
    late = plan(stopping(stop=7.0, delta=3.0, began=before.copy_until - 4), safety_margin=15)
    assert late.stop_until == late.copy_until - LEAST_DELTA
