"""The one source of randomness: ids and jitter. A seeded one makes a run repeatable."""

import random
import secrets
from typing import Protocol


class Chance(Protocol):
    def token(self, digits: int) -> str:
        """Return `digits` random lower-case hex digits."""
        ...

    def fraction(self) -> float:
        """Return a number from 0 up to, not including, 1."""
        ...


class SystemChance:
    def token(self, digits: int) -> str:
        return secrets.token_hex((digits + 1) // 2)[:digits]

    def fraction(self) -> float:
        return random.random()  # noqa: S311 - jitter, not a secret


class SeededChance:
    """The same ids and jitter for the same seed: tests and simulation."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)  # noqa: S311 - repeatable on purpose

    def token(self, digits: int) -> str:
        return f"{self._random.getrandbits(4 * digits):0{digits}x}"

    def fraction(self) -> float:
        return self._random.random()
