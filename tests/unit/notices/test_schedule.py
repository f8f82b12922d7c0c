import math

import pytest

from agent.notices.schedule import first_pause, pause, share_of

HOUR = 3600.0
DAY = 24 * HOUR
ENDS = [None, *(float(left) for left in range(-3600, 4 * 86400, 60))]


NOW = 1_795_000_000.0


@pytest.mark.parametrize("sort", ["", "throttled", "denied", "unavailable", "a word of tomorrow"])
def test_a_node_never_asks_more_often_than_once_a_minute(sort):
    failures = (1, 2, 5, 1000) if sort else (0,)
    pauses = [
        pause(left=left, failures=n, sort=sort, now=NOW, share=share)
        for left in ENDS
        for n in failures
        for share in (0.0, 0.3, 0.99)
    ]
    assert min(pauses) >= 60


@pytest.mark.parametrize(
    ("left", "period"),
    [
        (None, HOUR),
        (10 * DAY, HOUR),
        (DAY + 1, HOUR),
        (DAY, 600),
        (2 * HOUR + 1, 600),
        (2 * HOUR, 120),
        (60.0, 120),
        (0.0, 120),
        (-HOUR, 120),
    ],
)
@pytest.mark.parametrize("share", [0.0, 0.4, 0.99])
def test_the_nearer_the_end_the_more_often_it_is_asked_always_at_the_nodes_own_share_of_the_period(left, period, share):
    wait = pause(left=left, now=NOW, share=share)
    assert period / 2 <= wait < 1.5 * period
    slot = NOW + wait
    assert slot % period == pytest.approx(share * period, abs=0.001)
    assert pause(left=left, now=slot + 0.4, share=share) == pytest.approx(period - 0.4, abs=0.001)


def test_no_pause_reaches_into_the_last_90_minutes_from_outside_of_near():
    far = [left for left in ENDS if left is not None and left > 2 * HOUR]
    shares = [n / 10 for n in range(10)]
    assert min(left - pause(left=left, now=NOW, share=share) for left in far for share in shares) > 90 * 60


@pytest.mark.parametrize("left", [None, 10 * DAY, HOUR, 60.0])
def test_request_limit_exceeded_is_waited_out_for_five_minutes(left):
    waits = [pause(left=left, failures=n, sort="throttled", now=NOW, share=0.4) for n in (1, 2, 50)]
    assert waits == [300, 300, 300]


def test_silence_near_the_end_is_asked_into_soon_and_then_less_often():
    waits = [pause(left=HOUR, failures=n, sort="unavailable", now=0.0, share=0.0) for n in (1, 2, 3, 4, 99)]
    assert waits == [120, 240, 300, 300, 300]


def test_silence_where_nothing_is_known_costs_little_in_the_end():
    assert pause(left=None, failures=99, sort="unavailable", now=0.0, share=0.0) == HOUR


class Fleet:
    """Nodes on the schedule for hours: when each of their requests goes out."""

    def __init__(self, nodes, *, left, seconds, in_block=True, sort="", together=True, per_question=1, name="i-a"):
        self.seconds = seconds
        self.requests = [0] * math.ceil(seconds)
        for number in range(nodes):
            share = share_of(f"{name}{number:016x}")
            at, failures, first = first_pause(in_block=in_block, share=share), 0, True
            if not together:
                at = pause(left=left, now=NOW, share=share)
            while at < seconds:
                self.requests[int(at)] += per_question
                if first and together and at + 1 < seconds:
                    self.requests[int(at) + 1] += 1
                failures, first = failures + bool(sort), False
                end = None if left is None else left - at
                at += pause(left=end, failures=failures, sort=sort, now=NOW + at, share=share)

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
@pytest.mark.parametrize("name", ["i-0a", "i-0b", "i-0c"])
def test_the_256_nodes_of_a_block_make_at_most_10_requests_in_any_second(what, fleet, name):
    assert Fleet(256, seconds=1.5 * HOUR, name=name, **fleet).per_second(1) <= 10, what


def test_nodes_that_fall_into_step_come_apart_with_the_next_question():
    """After an outage of the control plane all ask at once."""
    at = [pause(left=HOUR, now=NOW, share=share_of(f"i-{number}")) for number in range(256)]
    assert max(at) - min(at) > 110
