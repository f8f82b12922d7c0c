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
