"""More streams while they pay, and no longer."""

import pytest

from agent.checkpoint.streams import FIRST, REST_SECONDS, Streams

MIB = 1 << 20


def run(streams, rate_of, *, seconds, size=8 * MIB, now=0.0):
    """Send bodies of `size` at the rate that so many streams have together; return when it ended."""
    until = now + seconds
    while now < until:
        now += size / rate_of(streams.count)
        streams.sent(size, now)
    return now


def each(per_stream, whole):
    """A network that carries so much for each stream, and for all together."""
    return lambda count: min(count * per_stream, whole)


def test_a_network_that_carries_more_with_each_stream_gets_all_of_them():
    streams = Streams(16, 64)
    run(streams, each(50 * MIB, 10_000 * MIB), seconds=10)
    assert streams.count == 64


def test_a_fast_network_has_all_of_them_within_four_seconds():
    streams = Streams(FIRST, 64)
    run(streams, each(60 * MIB, 10_000 * MIB), seconds=4)
    assert streams.count == 64


def test_one_that_is_full_from_the_start_keeps_nearly_what_it_began_with():
    streams = Streams(16, 64)
    run(streams, each(50 * MIB, 400 * MIB), seconds=9)
    assert streams.count == 25, "one try"


def test_one_that_fills_on_the_way_stops_there():
    streams = Streams(8, 64)
    run(streams, each(50 * MIB, 1000 * MIB), seconds=9)
    assert streams.count == 31


def test_what_brought_nothing_is_tried_again_after_a_while():
    streams = Streams(16, 64)
    now = run(streams, each(50 * MIB, 400 * MIB), seconds=9)
    before = streams.count
    run(streams, each(50 * MIB, 10_000 * MIB), seconds=REST_SECONDS + 20, now=now)
    assert before < streams.count == 64


@pytest.mark.parametrize("most", [1, 4])
def test_there_are_never_more_than_allowed_nor_fewer_than_at_first(most):
    streams = Streams(4, most)
    run(streams, each(MIB, 1000 * MIB), seconds=60)
    assert streams.count == 4


def test_a_few_bodies_say_nothing():
    streams = Streams(16, 64)
    for n in range(31):
        assert streams.sent(8 * MIB, float(n)) == 16


def test_the_next_copy_of_the_same_begins_with_as_many_as_the_last_came_to():
    streams = Streams(FIRST, 64)
    run(streams, each(50 * MIB, 1000 * MIB), seconds=9)
    again = streams.again()
    assert again.count == streams.count > FIRST
    run(again, each(50 * MIB, 10_000 * MIB), seconds=4)
    assert again.count == 64
