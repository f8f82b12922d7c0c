"""Files of one rank that wait: small ones for a pack, those of one request, large ones, the parts of those begun."""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from heapq import heappop, heappush
from itertools import count
from typing import Final

from agent.checkpoint import pack
from agent.checkpoint.ledger import Job
from agent.checkpoint.transfer import Transfer
from agent.value import value

PACK_FILES: Final = 1024
"""Of one pack. What is known of its files is held until it is stored, some 2 KB each, and packs travel side by side."""
PACK_SECONDS: Final = 2.0
"""How long small files wait for more, so that the next commit has them (P3)."""

IsBeyond = Callable[[int], bool]
"""Whether so many bytes are more than goes out in time."""


@value
class Slice:
    """One part of a large file, to be read and sent."""

    transfer: Transfer
    number: int


@value
class Sizes:
    """Files below `pack_below` go into packs of about `pack_size`; of the others, those of at most `largest` bytes are
    one request each. `limit`: of files of one of these kinds, no more wait.
    """

    pack_below: int
    pack_size: int
    largest: int
    limit: int

    def is_small(self, job: Job) -> bool:
        return job.entry.stat.size < self.pack_below and not job.alone

    def is_large(self, job: Job) -> bool:
        return job.entry.stat.size > self.largest and not self.is_small(job)


class Lane:
    def __init__(self, sizes: Sizes) -> None:
        self._sizes = sizes
        self._small: deque[Job] = deque()
        self._small_bytes = 0
        self._small_since = 0.0
        self._single: deque[Job] = deque()
        self._large: list[tuple[int, int, Job]] = []
        self._transfers: list[Transfer] = []
        self._numbers = count()

    @property
    def bytes_under_way(self) -> int:
        """Bytes of unfinished large files that are stored."""
        return sum(transfer.bytes_done for transfer in self._transfers)

    def waiting_like(self, job: Job) -> int:
        """Return how many files of the same kind wait."""
        sizes = self._sizes
        return len(self._large if sizes.is_large(job) else self._small if sizes.is_small(job) else self._single)

    def put(self, job: Job) -> None:
        if self._sizes.is_large(job):
            heappush(self._large, (job.entry.stat.size, next(self._numbers), job))
        elif self._sizes.is_small(job):
            if not self._small:
                self._small_since = asyncio.get_running_loop().time()
            self._small_bytes += _room_of(job)
            self._small.append(job)
        else:
            self._single.append(job)

    def begin(self, transfer: Transfer) -> None:
        self._transfers.append(transfer)

    def end(self, transfer: Transfer) -> None:
        self._transfers.remove(transfer)

    def clear(self) -> None:
        for queue in (self._small, self._single, self._large, self._transfers):
            queue.clear()

    def next_pack(self, *, is_last: bool) -> list[Job] | None:
        """Take the files of a pack, once there are enough of them or they have waited long enough.

        `is_last`: no more will come.
        """
        if not self._small or not (is_last or self._is_ripe()):
            return None
        files: list[Job] = []
        room = self._sizes.pack_size
        while self._small and len(files) < PACK_FILES:
            size = _room_of(self._small[0])
            if files and size > room:
                break
            files.append(self._small.popleft())
            self._small_bytes -= size
            room -= size
        self._put_back_cut_off(files)
        self._small_since = asyncio.get_running_loop().time()
        return files

    def _put_back_cut_off(self, files: list[Job]) -> None:
        """Leave a directory that a pack would cut in two to the next one, where it is the lesser half of this one.

        Its files are then stored together, most often, and stand together in one segment: that is compared much faster.
        """
        if not self._small or self._small[0].home is not files[-1].home:
            return
        start = len(files) - 1
        while start and files[start - 1].home is files[-1].home:
            start -= 1
        if start > len(files) // 2:
            self._small.extendleft(reversed(files[start:]))
            self._small_bytes += sum(map(_room_of, files[start:]))
            del files[start:]

    def _is_ripe(self) -> bool:
        is_full = self._small_bytes >= self._sizes.pack_size or len(self._small) >= min(PACK_FILES, self._sizes.limit)
        return is_full or asyncio.get_running_loop().time() >= self._small_since + PACK_SECONDS

    @property
    def ripe_at(self) -> float | None:
        """When the small files will have waited long enough, None when there are none."""
        return self._small_since + PACK_SECONDS if self._small else None

    def next_single(self) -> Job | None:
        return self._single.popleft() if self._single else None

    def next_large(self, is_beyond: IsBeyond) -> Job | Slice | None:
        """Take a part of a large file that can become whole, or begin with one: of those that wait the smallest."""
        unit = _part_of([transfer for transfer in self._transfers if not is_beyond(transfer.bytes_left)])
        if unit is None and self._large and not is_beyond(self._large[0][0]):
            return heappop(self._large)[2]
        return unit


def _part_of(transfers: Sequence[Transfer]) -> Slice | None:
    for transfer in transfers:
        if (number := transfer.claim()) is not None:
            return Slice(transfer=transfer, number=number)
    return None


def _room_of(job: Job) -> int:
    return pack.BLOCK + pack.padded(job.entry.stat.size)
