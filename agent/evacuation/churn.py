"""How much of a tree jobs change, from looks at it: what the last delta will have to send. Pure."""

from collections import deque
from typing import Final

from agent.evacuation.estimate import Look
from agent.value import value

KEPT: Final = 5
"""Looks whose rates are remembered: a job that writes every few minutes is not taken for one that writes nothing."""


class Churn:
    """Bytes of files that change per second, as looks ahead of a notice found it: the most of the last KEPT."""

    def __init__(self) -> None:
        self._before: Look | None = None
        self._rates: deque[float] = deque(maxlen=KEPT)

    def add(self, look: Look) -> None:
        """Take what a look found; the first tells nothing: what it finds may have changed long ago."""
        before, self._before = self._before, look
        if before is not None and look.at > before.at:
            seconds = look.at - before.at
            self._rates.append(sum(size for age, size in look.by_age if age < seconds) / seconds)

    @property
    def per_second(self) -> float | None:
        """The rate; None while it was not measured."""
        return max(self._rates, default=None)


@value
class Changed:
    """At `at` (monotonic) files of so many bytes had changed since they were copied."""

    at: float
    bytes: int


def expected(before: Changed, now: Changed, *, until: float, most: int) -> int:
    """Return the bytes that will have changed at `until` when it goes on as between two looks, at most `most`.

    Whoever writes over the same files again and again changes no more of them.
    """
    per_second = max(0, now.bytes - before.bytes) / (now.at - before.at) if now.at > before.at else 0.0
    return min(most, now.bytes + round(per_second * max(0.0, until - now.at)))
