"""What still goes out before a deadline, at the rate of the last seconds."""

import asyncio
from collections import deque
from typing import Final

WINDOW: Final = 10.0
"""Seconds looked back on: enough to even out parts, few enough to see a rate change."""


class Horizon:
    """`until` is when nothing more counts (`loop.time()`), None for no such time."""

    def __init__(self, until: float | None) -> None:
        self._until = until
        self._sent: deque[tuple[float, int]] = deque()
        self._total = 0

    def move(self, until: float | None) -> None:
        """Go by another time from now on: the deadline has come nearer, or is farther away."""
        self._until = until

    def sent(self, size: int) -> None:
        """So many bytes have just gone out."""
        now = asyncio.get_running_loop().time()
        self._total += size
        self._sent.append((now, self._total))
        while self._sent[0][0] < now - WINDOW:
            self._sent.popleft()

    def is_beyond(self, size: int) -> bool:
        """Return whether so many bytes are more than goes out in time; not before there is a rate to go by."""
        if self._until is None or len(self._sent) < 2:
            return False
        now = asyncio.get_running_loop().time()
        (first_at, before), (_, total) = self._sent[0], self._sent[-1]
        if now <= first_at:
            return False
        return size > (total - before) / (now - first_at) * max(0.0, self._until - now)
