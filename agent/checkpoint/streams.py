"""How many bodies are sent at once: more, as long as that makes the whole faster. Pure.

One connection to S3 carries 20 to 90 MB/s, so a fast network wants many; a slow one, or two CPUs, gain nothing by them:
on two CPUs sixteen cost a sixth more CPU than four, and took a fifth longer. A fast network has them all in four
seconds.
"""

from typing import Final

FIRST: Final = 4
"""To begin with."""
LEAST_SECONDS: Final = 0.5
"""Over which a rate is measured, at least."""
ROUNDS: Final = 2
"""Bodies of each stream in a measurement, at least: one says little."""
GROWTH: Final = 1.5
GAIN: Final = 1.15
"""What half as many streams again have to bring: below it they only cost."""
REST_SECONDS: Final = 10.0
"""Until it is tried again after it brought nothing: half a second may mislead, networks change, S3 adds partitions."""


class Streams:
    """Begins with `first` streams and goes up to `most`, never down."""

    def __init__(self, first: int, most: int) -> None:
        self.count = first
        self._most = max(first, most)
        self._before = 0.0
        self._began: float | None = None
        self._bytes = 0
        self._bodies = 0

    def again(self) -> "Streams":
        """Return one for the next copy of the same, which begins with as many as this one came to."""
        return Streams(self.count, self._most)

    def sent(self, size: int, now: float) -> int:
        """Note that a body is stored; return how many streams there should be. `now` in seconds, from anywhere."""
        if self._began is None:
            self._began = now
        if now <= self._began:
            return self.count
        self._bytes += size
        self._bodies += 1
        seconds = now - self._began
        if seconds >= LEAST_SECONDS and self._bodies >= ROUNDS * self.count:
            self._judge(self._bytes / seconds, now)
        return self.count

    def _judge(self, rate: float, now: float) -> None:
        if rate < GAIN * self._before:
            self._before = 0.0
            self._measure_from(now + REST_SECONDS)
            return
        self._before = rate
        self.count = min(self._most, int(self.count * GROWTH) + 1)
        self._measure_from(now)

    def _measure_from(self, now: float) -> None:
        self._began, self._bytes, self._bodies = now, 0, 0
