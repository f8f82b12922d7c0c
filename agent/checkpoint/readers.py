"""How many packs are read at once: one while their files come out of memory, several while they come from a disk.

What is left of reading a small file that is in memory is Python, and its lock: two threads use twice the CPU of one for
it and are no faster, twelve use three times as much (measured, 20,000 files of 10 KiB on two CPUs). A disk answers many
at once: there two take half the time of one, and more are no faster (virtual disk), but for one that is slow to answer.
"""

import asyncio
from collections.abc import Awaitable, Callable

from agent.checkpoint.packing import Packed


class Readers:
    """`most` is how many packs may be read at once from a disk."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._count = 1
        self._turns = asyncio.Semaphore(1)

    async def read(self, pack: Callable[[], Awaitable[Packed]]) -> Packed:
        """Return what `pack` returns, which is called when it is its turn."""
        await self._turns.acquire()
        wanted = self._count
        try:
            packed = await pack()
            wanted = self._most if packed.from_disk else 1
        finally:
            self._give_back(wanted)
        return packed

    def _give_back(self, wanted: int) -> None:
        """End a turn; from now on there are `wanted`, as soon as the surplus has ended."""
        if self._count > wanted:
            self._count -= 1
            return
        for _ in range(wanted - self._count + 1):
            self._turns.release()
        self._count = wanted
