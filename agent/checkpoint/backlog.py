"""What waits for a connection, and which comes next.

Files of one request stand in one queue, large files and the parts of those begun in another. Half of the workers look
into the first queue first, half into the second, and each takes from the other when its own is empty: a huge file can't
hold up the small ones, nor they it, and whichever is alone gets every connection. Parts of the file begun first come
first, so that large files become whole one after the other.
"""

import asyncio
from collections import deque
from dataclasses import dataclass

from agent.checkpoint.ledger import Job
from agent.checkpoint.transfer import Transfer

LIMIT = 4096
"""Files in a queue; the walk waits when one is full."""
BATCH_FILES = 64
BATCH_BYTES = 1 << 20
"""What a worker takes at once of small files: a thread reads them all in one go, which is most of what they cost."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Slice:
    """One part of a large file, to be read and sent."""

    transfer: Transfer
    number: int


class Backlog:
    def __init__(self, workers: int, *, limit: int = LIMIT) -> None:
        self._workers = workers
        self._limit = limit
        self._small: deque[Job] = deque()
        self._large: deque[Job] = deque()
        self._transfers: list[Transfer] = []
        self._open = 0
        self._closed = False
        self._changed = asyncio.Event()
        self._room = asyncio.Event()

    @property
    def bytes_under_way(self) -> int:
        """Bytes of unfinished large files that are stored."""
        return sum(transfer.bytes_done for transfer in self._transfers)

    async def put(self, job: Job, *, is_large: bool) -> None:
        """Queue a file; waits while its queue is full."""
        while len(self._large if is_large else self._small) >= self._limit:
            self._room.clear()
            await self._room.wait()
        self.put_now(job, is_large=is_large)

    def put_now(self, job: Job, *, is_large: bool) -> None:
        """Queue a file, however many wait."""
        (self._large if is_large else self._small).append(job)
        self._open += 1
        self._changed.set()

    def begin(self, transfer: Transfer) -> None:
        """Offer the parts of a large file. Its job stays open until `finish`."""
        self._transfers.append(transfer)
        self._changed.set()

    def end(self, transfer: Transfer) -> None:
        """Offer no more parts of it."""
        self._transfers.remove(transfer)

    def finish(self) -> None:
        """Note that one job is over, however it ended."""
        self._open -= 1
        self._changed.set()

    def close(self) -> None:
        """Note that the walk puts nothing more."""
        self._closed = True
        self._changed.set()

    async def take(self, *, large_first: bool) -> list[Job] | Slice | None:
        """Return what to do next, None when all is done; waits while there may be more."""
        while (unit := self._next(large_first=large_first)) is None:
            if self._closed and not self._open:
                return None
            self._changed.clear()
            await self._changed.wait()
        self._room.set()
        return unit

    def _next(self, *, large_first: bool) -> list[Job] | Slice | None:
        if large_first:
            return self._next_large() or self._next_small()
        return self._next_small() or self._next_large()

    def _next_small(self) -> list[Job] | None:
        """Take a batch, but leave each of the others as much."""
        if not self._small:
            return None
        batch = [self._small.popleft()]
        size = batch[0].entry.stat.size
        most = min(BATCH_FILES, len(self._small) // self._workers + 1)
        while self._small and len(batch) < most and (size := size + self._small[0].entry.stat.size) <= BATCH_BYTES:
            batch.append(self._small.popleft())
        return batch

    def _next_large(self) -> list[Job] | Slice | None:
        for transfer in self._transfers:
            if (number := transfer.claim()) is not None:
                return Slice(transfer=transfer, number=number)
        return [self._large.popleft()] if self._large else None
