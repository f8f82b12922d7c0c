import math
from datetime import timedelta

import pytest

from agent.chance import SeededChance
from agent.notices.schedule import first_pause, pause

HOUR = 3600.0
DAY = 24 * HOUR
ENDS = [None, *(float(left) for left in range(-3600, 4 * 86400, 60))]


@pytest.mark.parametrize("sort", ["", "throttled", "denied", "unavailable", "a word of tomorrow"])
def test_a_node_never_asks_more_often_than_once_a_minute(sort):
    failures = (1, 2, 5, 1000) if sort else (0,)
    pauses = [pause(left=left, failures=n, sort=sort, chance=0.0) for left in ENDS for n in failures]
    assert min(pauses) >= 60


@pytest.mark.parametrize(
    ("left", "least", "most"),
    [
        (None, HOUR, 1.1 * HOUR),
        (10 * DAY, HOUR, 1.1 * HOUR),
        (DAY + 1, HOUR, 1.1 * HOUR),
        (DAY, 600, 660),
        (2 * HOUR + 1, 600, 660),
        (2 * HOUR, 60, 66),
        (60.0, 60, 66),
        (0.0, 60, 66),
        (-HOUR, 60, 66),
    ],
)
def test_the_nearer_the_end_the_more_often_it_is_asked(left, least, most):
    assert pause(left=left, chance=0.0) == least
    assert pause(left=left, chance=1.0) == pytest.approx(most)


def test_no_pause_reaches_into_the_last_90_minutes_from_outside_of_near():
    far = [left for left in ENDS if left is not None and left > 2 * HOUR]
    assert min(left - pause(left=left, chance=1.0) for left in far) > 90 * 60


@pytest.mark.parametrize("left", [None, 10 * DAY, HOUR, 60.0])
def test_request_limit_exceeded_is_waited_out_for_five_minutes(left):
    assert [pause(left=left, failures=n, sort="throttled", chance=0.0) for n in (1, 2, 50)] == [300, 300, 300]


def test_silence_near_the_end_is_asked_into_soon_and_then_less_often():
    assert [pause(left=HOUR, failures=n, sort="unavailable", chance=0.0) for n in (1, 2, 3, 4, 99)] == [
        60,
        120,
        240,
        300,
        300,
    ]


def test_silence_where_nothing_is_known_costs_little_in_the_end():
    assert pause(left=None, failures=99, sort="unavailable", chance=0.0) == HOUR


class Fleet:
    """Nodes on the schedule for hours: when each of their requests goes out."""

    def __init__(self, nodes, *, left, seconds, in_block=True, sort="", together=True, per_question=1):
        chance = SeededChance(7)
        self.seconds = seconds
        self.requests = [0] * math.ceil(seconds)
        for _ in range(nodes):
            at, failures, first = first_pause(in_block=in_block, chance=chance.fraction()), 0, True
            if not together:
                at = pause(left=left, chance=0.0) * chance.fraction()
            while at < seconds:
                self.requests[int(at)] += 2 if first and together else per_question
                failures, first = failures + bool(sort), False
                end = None if left is None else left - at
                at += pause(left=end, failures=failures, sort=sort, chance=chance.fraction())

    def per_second(self, window):
        """The most requests a second in any `window` seconds."""
        return max(sum(self.requests[at : at + window]) / window for at in range(0, int(self.seconds), window))


@pytest.mark.parametrize(
    ("what", "fleet"),
    [
        ("started together, life cycle unknown", {"left": None, "in_block": False}),
        ("running, the end is days away", {"left": 5 * DAY, "together": False}),
        ("running, the end is within a day", {"left": 12 * HOUR, "together": False}),
        ("throttled, all of them", {"left": 12 * HOUR, "together": False, "sort": "throttled"}),
        ("EC2 gone, all of them", {"left": 12 * HOUR, "together": False, "sort": "unavailable"}),
        ("no permission, all of them", {"left": None, "in_block": False, "sort": "denied"}),
    ],
)
def test_a_thousand_agents_stay_under_5_requests_a_second_while_the_end_is_far(what, fleet):
    assert Fleet(1000, seconds=2 * HOUR, **fleet).per_second(60) < 5, what


@pytest.mark.parametrize(
    ("what", "fleet"),
    [
        ("started together in their block", {"left": 5 * DAY}),
        ("started together near the end", {"left": 1.5 * HOUR}),
        ("the last two hours", {"left": 2 * HOUR, "together": False}),
        ("EC2 gone", {"left": HOUR, "sort": "unavailable", "together": False}),
    ],
)
def test_the_256_nodes_of_a_block_stay_under_10_requests_a_second(what, fleet):
    assert Fleet(256, seconds=1.5 * HOUR, **fleet).per_second(10) < 10, what


def test_nodes_that_fall_into_step_drift_apart_again():
    """After an outage of the control plane all ask at once; the stretch of the pauses spreads them."""
    chance, at = SeededChance(3), [0.0] * 256
    for _ in range(60):
        at = [time + pause(left=HOUR, chance=chance.fraction()) for time in at]
    assert max(at) - min(at) > timedelta(seconds=60).total_seconds()
