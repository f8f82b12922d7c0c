"""The one source of randomness: ids and jitter. A seeded one makes a run repeatable."""

import os
from typing import Final, Protocol

_BYTES: Final = 6
"""Of a fraction: fewer bits than a float has, which would round the largest up to 1."""


class Chance(Protocol):
    def token(self, digits: int) -> str:
        """Return `digits` random lower-case hex digits."""
        ...

    def fraction(self) -> float:
        """Return a number from 0 up to, not including, 1."""
        ...


class SystemChance:
    def token(self, digits: int) -> str:
        return os.urandom((digits + 1) // 2).hex()[:digits]

    def fraction(self) -> float:
        return int.from_bytes(os.urandom(_BYTES), "big") / (1 << 8 * _BYTES)


class SeededChance:
    """The same ids and jitter for the same seed: tests and simulation."""

    def __init__(self, seed: int) -> None:
        import random  # SystemChance, which each command needs, does without

        self._random = random.Random(seed)  # noqa: S311 - repeatable on purpose

    def token(self, digits: int) -> str:
        return f"{self._random.getrandbits(4 * digits):0{digits}x}"

    def fraction(self) -> float:
        return self._random.random()
