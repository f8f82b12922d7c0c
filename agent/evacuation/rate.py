"""How fast bytes go out, from what went out in the last seconds."""

from collections import deque
from typing import Final

WINDOW: Final = 10.0
"""Seconds looked back on: long enough to even out parts of 8 MiB, short enough to see a burst credit end."""


class Rate:
    """Bytes per second over the last WINDOW seconds."""

    def __init__(self) -> None:
        self._points: deque[tuple[float, int]] = deque()

    def add(self, at: float, total: int) -> None:
        """At `at` (monotonic) `total` bytes have gone out since the copy began; a smaller total is a new copy."""
        if self._points and total < self._points[-1][1]:
            self._points.clear()
        self._points.append((at, total))
        while len(self._points) > 2 and self._points[1][0] <= at - WINDOW:
            self._points.popleft()

    @property
    def per_second(self) -> float:
        if len(self._points) < 2:
            return 0.0
        (first_at, first), (last_at, last) = self._points[0], self._points[-1]
        return (last - first) / (last_at - first_at) if last_at > first_at else 0.0


ENOUGH: Final = 64 << 20
"""Bytes that a copy must have sent to tell how fast copies go here: less is mostly its beginning."""


class Pace:
    """How fast copies go from their beginning on; the last one that has sent ENOUGH tells."""

    def __init__(self) -> None:
        self._first: tuple[float, int] | None = None
        self._last = 0
        self.per_second: float | None = None

    def add(self, at: float, sent: int) -> None:
        """At `at` (monotonic) `sent` bytes have gone out since the copy began; a smaller number is a new copy."""
        if self._first is None or sent < self._last:
            self._first = (at, sent)
        self._last = sent
        began, before = self._first
        if sent - before >= ENOUGH and at > began:
            self.per_second = (sent - before) / (at - began)
