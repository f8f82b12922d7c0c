"""The port to instance metadata: what identity and the notice sources need of it."""

from collections.abc import Callable
from typing import Protocol, TypeVar

T = TypeVar("T")


class Metadata(Protocol):
    async def read(self, path: str, parse: Callable[[bytes], T], *, urgent: bool = False) -> T | None:
        """Return `parse` of what is at `path` (below /latest/), None when nothing is there (404).

        Ends within a few seconds whatever IMDS does. An `urgent` question goes before all that are not. Raises
        ImdsUnavailable, also when `parse` raises ImdsGarbage.
        """
        ...
