"""Whoever listens to the runner can't hold it up."""

import asyncio
from datetime import UTC, datetime

from agent.daemon.feed import Feed
from agent.evacuation.events import Started
from agent.evacuation.record import Record
from agent.evacuation.state import Effects, Evacuation
from agent.model.checkpoint import CheckpointId
from agent.model.mode import Mode


def record(number):
    started = Started(
        at=float(number),
        wall=datetime(2026, 11, 23, tzinfo=UTC),
        fresh=CheckpointId("20261123T120000.000Z-1a2b3c4d"),
    )
    return Record(number=number, event=started, state=Evacuation(effects=Effects.of(Mode.ACT)))


async def first(subscription, count):
    numbers = []
    async for one in subscription:
        numbers.append(one.number)
        if len(numbers) == count:
            return numbers
    return numbers


async def test_every_subscriber_gets_every_record():
    feed = Feed()
    one, other = feed.subscribe(), feed.subscribe()
    for number in range(3):
        feed.publish(record(number))
    assert await asyncio.gather(first(one, 3), first(other, 3)) == [[0, 1, 2], [0, 1, 2]]


async def test_a_slow_subscriber_misses_the_oldest_and_holds_up_nobody():
    feed = Feed()
    slow = feed.subscribe(longest=2)
    for number in range(5):
        feed.publish(record(number))
    assert await first(slow, 2) == [3, 4]
    assert slow.dropped == 3
