"""What a notice would cost."""

import pytest

from agent.evacuation.estimate import ASSUMED_RATE, FIXED_COSTS, Look, estimate
from agent.evacuation.rate import ENOUGH, Pace

GB = 10**9
LOOK = Look(at=50.0, files=7, bytes=3 * GB, used=20 * GB)


def test_nothing_is_known_before_anybody_looked():
    assert estimate(look=None, used=None, used_at=0.0, rate=1e8) is None


def test_before_the_first_look_all_that_is_on_the_disk_counts():
    found = estimate(look=None, used=2 * GB, used_at=70.0, rate=1e8)
    assert (found.seconds, found.bytes, found.files, found.at) == (FIXED_COSTS + 20, 2 * GB, None, 70.0)
    assert found.is_measured


def test_what_is_unsaved_counts_as_of_the_last_look():
    found = estimate(look=LOOK, used=20 * GB, used_at=70.0, rate=1e8)
    assert (found.seconds, found.bytes, found.files, found.at) == (FIXED_COSTS + 30, 3 * GB, 7, 50.0)


@pytest.mark.parametrize(("used", "unsaved"), [(25, 8), (19, 3), (2, 2), (None, 3)])
def test_the_disk_tells_of_what_came_since_the_last_look(used, unsaved):
    found = estimate(look=LOOK, used=used and used * GB, used_at=70.0, rate=1e8)
    assert found.bytes == unsaved * GB


def test_a_rate_that_is_assumed_is_said_to_be():
    found = estimate(look=LOOK, used=20 * GB, used_at=70.0, rate=None)
    assert found.rate == ASSUMED_RATE
    assert not found.is_measured


def test_a_copy_tells_its_pace_once_it_has_sent_enough():
    pace = Pace()
    pace.add(0.0, 0)
    pace.add(1.0, ENOUGH - 1)
    assert pace.per_second is None
    pace.add(2.0, ENOUGH)
    assert pace.per_second == ENOUGH / 2
    pace.add(100.0, 1000)  # the next copy is too small to tell
    pace.add(200.0, 2000)
    assert pace.per_second == ENOUGH / 2
    pace.add(201.0, 2000 + ENOUGH)
    assert pace.per_second == pytest.approx(ENOUGH / 101, rel=0.01)
