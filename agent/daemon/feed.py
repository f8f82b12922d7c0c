"""The steps of the runner for whoever wants to know. Nobody is waited for: a subscriber that is slow misses steps."""

import asyncio
from collections.abc import AsyncIterator
from typing import Final

from agent.evacuation.record import Record

LONGEST: Final = 256
"""Records that a subscriber may lag behind; an evacuation has some thirty."""


class Subscription:
    """The records from the subscription on, the oldest dropped (and counted in `dropped`) when too many wait."""

    def __init__(self, longest: int) -> None:
        self._waiting: asyncio.Queue[Record] = asyncio.Queue(longest)
        self.dropped = 0

    def put(self, record: Record) -> None:
        if self._waiting.full():
            self._waiting.get_nowait()
            self.dropped += 1
        self._waiting.put_nowait(record)

    async def __aiter__(self) -> AsyncIterator[Record]:
        while True:
            yield await self._waiting.get()


class Feed:
    """Gives every record to every subscription, at once and without waiting."""

    def __init__(self) -> None:
        self._subscriptions: list[Subscription] = []

    def subscribe(self, *, longest: int = LONGEST) -> Subscription:
        subscription = Subscription(longest)
        self._subscriptions.append(subscription)
        return subscription

    def publish(self, record: Record) -> None:
        for subscription in self._subscriptions:
            subscription.put(record)
