"""A body that is stuck is sent once more on another connection, when one has nothing else to do.

S3 now and then answers one request of thousands very late; its own advice is to try again on another connection.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine
from statistics import median
from typing import Any, Final, TypeVar

SLOWER: Final = 3
"""Times the median of the last bodies, for each byte."""
LEAST_SECONDS: Final = 2.0
"""Nothing is sent twice before: the times of short requests say little."""
_LOOK_SECONDS: Final = 0.5
_FEWEST, _MOST = 8, 64

T = TypeVar("T")


class Hedge:
    """`connections` is how many bodies may be under way at once, those that are sent twice counted twice."""

    def __init__(self, connections: int) -> None:
        self._connections = connections
        self._under_way = 0
        self._paces: deque[float] = deque(maxlen=_MOST)

    async def send(self, size: int, send: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Return what `send`, which sends `size` bytes, returns, or raise what it raises. It may be called twice.

        Neither call goes on once this returns.
        """
        loop = asyncio.get_running_loop()
        began = loop.time()
        tries: list[asyncio.Task[T]] = []
        try:
            tries.append(self._begin(send))
            while not _is_over(tries):
                if len(tries) == 1 and self._is_stuck(loop.time() - began, size):
                    tries.append(self._begin(send))
                waiting = [each for each in tries if not each.done()]
                timeout = _LOOK_SECONDS if len(tries) == 1 else None
                await asyncio.wait(waiting, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
            result = _best(tries).result()
        finally:
            await self._end(tries)
        self._paces.append((loop.time() - began) / max(1, size))
        return result

    def _begin(self, send: Callable[[], Coroutine[Any, Any, T]]) -> asyncio.Task[T]:
        self._under_way += 1
        return asyncio.create_task(send(), name="hedge: send")

    def _is_stuck(self, seconds: float, size: int) -> bool:
        if len(self._paces) < _FEWEST or self._under_way >= self._connections:
            return False
        return seconds >= max(LEAST_SECONDS, SLOWER * median(self._paces) * size)

    async def _end(self, tries: list[asyncio.Task[T]]) -> None:
        self._under_way -= len(tries)
        for each in tries:
            each.cancel()
        await asyncio.gather(*tries, return_exceptions=True)


def _is_over(tries: list[asyncio.Task[T]]) -> bool:
    """Return whether one has succeeded, or all have failed."""
    return all(each.done() for each in tries) or any(each.done() and each.exception() is None for each in tries)


def _best(tries: list[asyncio.Task[T]]) -> asyncio.Task[T]:
    return next((each for each in tries if each.done() and each.exception() is None), tries[0])
