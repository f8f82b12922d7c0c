"""Doing again what may work the next time."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from agent.chance import Chance
from agent.daemon.runner import Tell
from agent.errors import TransientError

T = TypeVar("T")


class Patience:
    """Pauses between two tries: `first` seconds, twice as many each time up to `longest`; a half of them to all."""

    def __init__(self, chance: Chance, *, first: float, longest: float) -> None:
        self._chance = chance
        self._first = first
        self._longest = longest

    async def until_done(self, once: Callable[[], Awaitable[T]], tell: Tell) -> T:
        """Return what `once` returns, after any number of tries, each of which is told; the runner cancels."""
        pause = self._first
        while True:
            try:
                return await once()
            except TransientError as error:
                tell.troubled(error)
            await asyncio.sleep(pause * (0.5 + self._chance.fraction() / 2))
            pause = min(2 * pause, self._longest)
