import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.notices.cadence import next_look


def look(begun=100.0, *, took=0.0, interval=1.0, failures=0, fraction=0.5):
    return next_look(begun, now=begun + took, interval=interval, failures=failures, fraction=fraction)


def test_a_steady_source_keeps_its_beat_however_long_an_answer_takes():
    assert look(took=0.0) == look(took=0.9) == 101.0
    assert look(took=1.5) == 102.0


def test_short_intervals_are_not_jittered_and_long_ones_a_little():
    assert look(fraction=0.0) == look(fraction=0.999) == 101.0
    assert look(interval=10.0, fraction=0.0) == 109.5
    assert look(interval=10.0, fraction=0.5) == 110.0


def test_one_lost_packet_changes_nothing():
    assert look(failures=1, fraction=0.9) == 101.0


@pytest.mark.parametrize(("fraction", "at"), [(0.0, 101.0), (0.5, 101.5), (0.99, 101.99)])
def test_repeated_failures_back_off_with_jitter(fraction, at):
    assert look(failures=2, fraction=fraction) == pytest.approx(at)
    assert look(failures=500, fraction=fraction) == pytest.approx(at)


@given(
    took=st.floats(0, 30),
    interval=st.floats(0.5, 60),
    failures=st.integers(0, 10_000),
    fraction=st.floats(0, 1, exclude_max=True),
)
def test_p5_two_looks_never_begin_more_than_two_intervals_apart(took, interval, failures, fraction):
    at = look(0.0, took=took, interval=interval, failures=failures, fraction=fraction)
    assert took <= at <= max(took, 2 * interval)
    assert at >= 0.95 * interval
