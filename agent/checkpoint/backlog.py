"""What waits for a connection, and which comes next.

Small files stand in one queue, from which a worker takes a pack at a time; files of one request in another; large
files and the parts of those begun in a third. A third of the workers look into each queue first, and into the others
when it has nothing: a huge file can't hold up the small ones, nor they it, and whichever is alone gets every
connection. Of the large files the smallest comes first, and the parts of the one begun first: as many as can be become
whole. What can't any more before the deadline gives way to everything that can, in whichever queue.

Files of a lower rank have queues of their own, from which all workers take before they look at the next rank.
"""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial

from agent.checkpoint.horizon import Horizon
from agent.checkpoint.lane import PACK_FILES, Lane, Sizes, Slice
from agent.checkpoint.ledger import Job
from agent.checkpoint.transfer import Transfer

LIMIT = 8 * PACK_FILES
"""Files in a queue; the walk waits when one is full."""

Unit = list[Job] | Job | Slice
"""The files of a pack, a file, a part."""


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
        self._sizes = Sizes(pack_below=pack_below, pack_size=pack_size, largest=largest, limit=limit)
        self._packs_left = packs
        self._horizon = horizon or Horizon(None)
        self._lanes: dict[int, Lane] = {}
        self._open = 0
        self._closed = False
        self._changed = asyncio.Event()
        self._room = asyncio.Event()

    @property
    def bytes_under_way(self) -> int:
        """Bytes of unfinished large files that are stored."""
        return sum(lane.bytes_under_way for lane in self._lanes.values())

    async def put(self, job: Job) -> None:
        """Queue a file; waits while as many of its kind wait as may."""
        while sum(lane.waiting_like(job) for lane in self._lanes.values()) >= self._sizes.limit:
            self._room.clear()
            await self._room.wait()
        self.put_now(job)

    def put_now(self, job: Job) -> None:
        """Queue a file, however many wait."""
        self._lane_of(job).put(job)
        self._open += 1
        self._changed.set()

    def begin(self, transfer: Transfer) -> None:
        """Offer the parts of a large file. Its job stays open until `finish`."""
        self._lane_of(transfer.job).begin(transfer)
        self._changed.set()

    def end(self, transfer: Transfer) -> None:
        """Offer no more parts of it."""
        self._lane_of(transfer.job).end(transfer)

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
        for lane in self._lanes.values():
            lane.clear()

    async def take(self, worker: int = 0) -> Unit | None:
        """Return what a worker does next; None when all is done. Waits while there may be more."""
        while (unit := self._next(worker)) is None:
            if self._closed and not self._open:
                return None
            self._changed.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout_at(self._ripe_at()):
                    await self._changed.wait()
        self._room.set()
        return unit

    def _lane_of(self, job: Job) -> Lane:
        if job.rank not in self._lanes:
            self._lanes = dict(sorted({**self._lanes, job.rank: Lane(self._sizes)}.items()))
        return self._lanes[job.rank]

    def _next(self, worker: int) -> Unit | None:
        return next((unit for look in self._looks(worker) if (unit := look()) is not None), None)

    def _looks(self, worker: int) -> Iterator[Callable[[], Unit | None]]:
        """Yield where a worker looks, one after the other."""
        for lane in self._lanes.values():
            queues = (
                partial(self._next_pack, lane),
                lane.next_single,
                partial(lane.next_large, self._horizon.is_beyond),
            )
            first = worker % len(queues)
            yield from queues[first:] + queues[:first]
        # Nothing can become whole: whatever comes then is sent, the deadline may move.
        for lane in self._lanes.values():
            yield partial(lane.next_large, _never)

    def _next_pack(self, lane: Lane) -> list[Job] | None:
        files = lane.next_pack(is_last=self._closed) if self._packs_left else None
        if files is not None:
            self._packs_left -= 1
        return files

    def _ripe_at(self) -> float | None:
        """Return when small files will have waited long enough, None when there is nothing to wait for."""
        ripe = [at for lane in self._lanes.values() if (at := lane.ripe_at) is not None]
        return min(ripe, default=None) if self._packs_left else None


def _never(_size: int) -> bool:
    return False
