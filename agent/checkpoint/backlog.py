"""What waits for a connection, and which comes next.

Small files stand in one queue, from which a worker takes a pack at a time; files of one request in another; large
files and the parts of those begun in a third. A third of the workers look into each queue first, and into the others
when it has nothing: a huge file can't hold up the small ones, nor they it, and whichever is alone gets every
connection. Of the large files the smallest comes first, and the parts of the one begun first: as many as can be become
whole. What can't any more before the deadline gives way to what can.
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from heapq import heappop, heappush
from itertools import count

from agent.checkpoint import pack
from agent.checkpoint.horizon import Horizon
from agent.checkpoint.ledger import Job
from agent.checkpoint.transfer import Transfer

PACK_FILES = 4096
"""Of one pack: a thread reads them in one go, and all are sent again when it is cut."""
PACK_SECONDS = 2.0
"""How long small files wait for more, so that the next commit has them (P3)."""
LIMIT = 2 * PACK_FILES
"""Files in a queue; the walk waits when one is full."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Slice:
    """One part of a large file, to be read and sent."""

    transfer: Transfer
    number: int


class Backlog:
    """Files below `pack_below` are packed into about `pack_size`, at most `packs` at the same time.

    Of the others, those of at most `largest` bytes are one request each.
    """

    def __init__(
        self,
        *,
        pack_below: int,
        pack_size: int,
        packs: int,
        largest: int,
        limit: int = LIMIT,
        horizon: Horizon | None = None,
    ) -> None:
        self._pack_below = pack_below
        self._pack_size = pack_size
        self._packs_left = packs
        self._largest = largest
        self._limit = limit
        self._small: deque[Job] = deque()
        self._small_bytes = 0
        self._small_since = 0.0
        self._single: deque[Job] = deque()
        self._large: list[tuple[int, int, Job]] = []
        self._horizon = horizon or Horizon(None)
        self._transfers: list[Transfer] = []
        self._numbers = count()
        self._open = 0
        self._closed = False
        self._changed = asyncio.Event()
        self._room = asyncio.Event()

    @property
    def bytes_under_way(self) -> int:
        """Bytes of unfinished large files that are stored."""
        return sum(transfer.bytes_done for transfer in self._transfers)

    async def put(self, job: Job) -> None:
        """Queue a file; waits while its queue is full."""
        while self._is_full(job):
            self._room.clear()
            await self._room.wait()
        self.put_now(job)

    def put_now(self, job: Job) -> None:
        """Queue a file, however many wait."""
        if self._is_large(job):
            heappush(self._large, (job.entry.stat.size, next(self._numbers), job))
        elif self._is_small(job):
            if not self._small:
                self._small_since = asyncio.get_running_loop().time()
            self._small_bytes += _room_of(job)
            self._small.append(job)
        else:
            self._single.append(job)
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

    def finish_pack(self, jobs: int) -> None:
        """Note that a pack is over, and its jobs."""
        self._packs_left += 1
        self._open -= jobs
        self._changed.set()

    def close(self) -> None:
        """Note that the walk puts nothing more."""
        self._closed = True
        self._changed.set()

    def clear(self) -> None:
        """Let go of all that waits, and of the files that are open."""
        for queue in (self._small, self._single, self._large, self._transfers):
            queue.clear()

    async def take(self, worker: int = 0) -> list[Job] | Job | Slice | None:
        """Return what a worker does next: the files of a pack, a file, a part; None when all is done.

        Waits while there may be more.
        """
        while (unit := self._next(worker)) is None:
            if self._closed and not self._open:
                return None
            self._changed.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout_at(self._ripe_at()):
                    await self._changed.wait()
        self._room.set()
        return unit

    def _is_small(self, job: Job) -> bool:
        return job.entry.stat.size < self._pack_below and not job.alone

    def _is_large(self, job: Job) -> bool:
        return job.entry.stat.size > self._largest and not self._is_small(job)

    def _is_full(self, job: Job) -> bool:
        queue = self._large if self._is_large(job) else self._small if self._is_small(job) else self._single
        return len(queue) >= self._limit

    def _next(self, worker: int) -> list[Job] | Job | Slice | None:
        queues = (self._next_pack, self._next_single, self._next_large)
        first = worker % len(queues)
        return next((unit for look in queues[first:] + queues[:first] if (unit := look()) is not None), None)

    def _next_pack(self) -> list[Job] | None:
        """Take the files of a pack, once there are enough of them or they have waited long enough."""
        if not self._small or not self._packs_left or not self._is_ripe():
            return None
        files: list[Job] = []
        room = self._pack_size
        while self._small and len(files) < PACK_FILES:
            size = _room_of(self._small[0])
            if files and size > room:
                break
            files.append(self._small.popleft())
            self._small_bytes -= size
            room -= size
        self._packs_left -= 1
        self._small_since = asyncio.get_running_loop().time()
        return files

    def _is_ripe(self) -> bool:
        is_full = self._small_bytes >= self._pack_size or len(self._small) >= min(PACK_FILES, self._limit)
        return is_full or self._closed or asyncio.get_running_loop().time() >= self._small_since + PACK_SECONDS

    def _ripe_at(self) -> float | None:
        """Return when the small files will have waited long enough, None when there is nothing to wait for."""
        return self._small_since + PACK_SECONDS if self._small and self._packs_left else None

    def _next_single(self) -> Job | None:
        return self._single.popleft() if self._single else None

    def _next_large(self) -> Job | Slice | None:
        beyond = self._horizon.is_beyond
        in_reach = [transfer for transfer in self._transfers if not beyond(transfer.bytes_left)]
        if (unit := _part_of(in_reach)) is not None:
            return unit
        if self._large and not beyond(self._large[0][0]):
            return heappop(self._large)[2]
        # Nothing can become whole: whatever comes then is sent, the deadline may move.
        unit = _part_of(self._transfers)
        return heappop(self._large)[2] if unit is None and self._large else unit


def _part_of(transfers: Sequence[Transfer]) -> Slice | None:
    for transfer in transfers:
        if (number := transfer.claim()) is not None:
            return Slice(transfer=transfer, number=number)
    return None


def _room_of(job: Job) -> int:
    return pack.BLOCK + pack.padded(job.entry.stat.size)
