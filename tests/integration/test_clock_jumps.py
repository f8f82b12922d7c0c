"""The wall clock of a running daemon is set an hour ahead or back: a deadline is neither fired nor lost by it."""

import time
from datetime import UTC, datetime, timedelta

import pytest

from tests.fakes.lone import Lone, build

pytestmark = pytest.mark.cc

HOUR = 3600


@pytest.fixture(scope="module")
def shim(tmp_path_factory):
    return build(tmp_path_factory.mktemp("shim"))


@pytest.fixture
def daemon(tmp_path, shim):
    with Lone.running(tmp_path, LD_PRELOAD=str(shim)) as it:
        yield it


def in_seconds(seconds):
    return datetime.now(UTC) + timedelta(seconds=seconds)


def noticed(status):
    return status["notices"]


def clock_says(status):
    """How far the daemon's wall clock is ahead of ours, in whole hours."""
    return round((datetime.fromisoformat(status["at"]) - datetime.now(UTC)) / timedelta(hours=1))


def test_p5_a_jump_in_either_direction_neither_fires_nor_loses_a_deadline(daemon):
    began = time.monotonic()
    daemon.imds.interrupt(at=in_seconds(25))
    first, _ = daemon.until(noticed, seconds=30)

    for hours in (1, -1, 0):
        daemon.ahead(hours * HOUR)
        time.sleep(2.5)  # several polls: the notice is seen again each second
        status = daemon.status
        assert clock_says(status) == hours
        assert status["state"] == "copying"
        assert [(one["id"], one["ends_at"], one["stale"]) for one in status["notices"]] == [
            (one["id"], one["ends_at"], False) for one in first["notices"]
        ]
        assert abs(status["seconds_left"] - (25 - (time.monotonic() - began))) < 2

    # Back an hour for the rest of the way: by the wall clock there would be an hour left.
    daemon.ahead(-HOUR)
    daemon.until(lambda status: status["state"] == "resting", seconds=30)
    assert abs(time.monotonic() - began - 25) < 4


@pytest.mark.parametrize("hours", [1, -1])
def test_p5_a_notice_after_a_jump_is_timed_by_the_clock_of_imds(daemon, hours):
    daemon.ahead(hours * HOUR)
    assert clock_says(daemon.status) == hours

    daemon.imds.interrupt(at=in_seconds(120))

    status, _ = daemon.until(noticed, seconds=30)
    (notice,) = status["notices"]
    assert notice["stale"] is False
    assert 113 < notice["seconds_left"] < 123
    daemon.until(lambda status: status["state"] == "copying", seconds=30)


def test_p5_a_notice_long_past_is_stale_whatever_our_clock_says(daemon):
    daemon.ahead(-HOUR)

    daemon.imds.interrupt(at=in_seconds(-600))

    status, _ = daemon.until(noticed, seconds=30)
    assert [notice["stale"] for notice in status["notices"]] == [True]
    assert status["state"] == "watching"
