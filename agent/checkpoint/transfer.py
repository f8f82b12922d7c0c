"""A large file on its way: which parts it has, which are under way, which are stored."""

from collections import deque
from collections.abc import Iterable
from functools import reduce

from agent.checkpoint.ledger import Job
from agent.checksum import combine
from agent.scratch.reader import Source
from agent.store.base import Part, UploadId

MIB = 1 << 20
MOST_PARTS = 10_000
"""S3's limit of a multipart upload (S3 User Guide, "Multipart upload limits")."""


def part_size_for(length: int, smallest: int) -> int:
    """Return the size of the parts of an object: `smallest`, or the whole MiB above with which 10,000 are enough."""
    needed = -(-length // MOST_PARTS)
    return smallest if needed <= smallest else -(-needed // MIB) * MIB


class Transfer:
    """The multipart upload of one file; `settled`: its times can be believed from now on.

    `stored` are parts that were acknowledged in another life. `expected` are such parts of a file whose times could not
    be believed then: each is read again, and sent again when it is another.
    """

    def __init__(
        self,
        *,
        job: Job,
        source: Source,
        key: str,
        upload: UploadId,
        part_size: int,
        streams: int,
        stored: Iterable[Part],
        settled: bool,
        expected: Iterable[Part] = (),
    ) -> None:
        self.job = job
        self.source = source
        self.key = key
        self.upload = upload
        self.settled = settled
        self.torn = False
        self.stale = False
        """It came to nothing; what is under way still is waited for."""
        self.failure: OSError | None = None
        """Why its file can't be read."""
        self._part_size = part_size
        self._count = -(-source.length // part_size)
        self._streams = streams
        self._parts = self._fitting(stored)
        self._expected = self._fitting(expected)
        self._unclaimed = deque(number for number in range(1, self._count + 1) if number not in self._parts)
        self._claimed = 0
        self.bytes_done = sum(part.size for part in self._parts.values())
        """How much of it is stored."""

    @property
    def is_sent(self) -> bool:
        return len(self._parts) == self._count

    @property
    def is_idle(self) -> bool:
        """No part of it is under way."""
        return not self._claimed

    @property
    def bytes_left(self) -> int:
        """How much of it is not stored."""
        return self.source.length - self.bytes_done

    @property
    def parts(self) -> list[Part]:
        return [self._parts[number] for number in sorted(self._parts)]

    @property
    def crc64nvme(self) -> int:
        """The checksum of the whole object, out of those of its parts."""
        return reduce(lambda so_far, part: combine(so_far, part.crc64nvme, part.size), self.parts, 0)

    def span(self, number: int) -> tuple[int, int]:
        """Return the offset and length of a part in the stored bytes; no length for a number that is none of ours."""
        offset = (number - 1) * self._part_size
        return offset, max(0, min(self._part_size, self.source.length - offset))

    def expected(self, number: int) -> Part | None:
        """Return a part that is stored already, and may be as the file is now."""
        return self._expected.get(number)

    def _fitting(self, parts: Iterable[Part]) -> dict[int, Part]:
        return {part.number: part for part in parts if part.size == self.span(part.number)[1]}

    def claim(self) -> int | None:
        """Return the number of the next part to be sent, None when all are taken or enough are under way."""
        if self.stale or not self._unclaimed or self._claimed >= self._streams:
            return None
        self._claimed += 1
        return self._unclaimed.popleft()

    def release(self, part: Part | None) -> None:
        """Note that a claimed part is stored, or (None) that it came to nothing."""
        self._claimed -= 1
        if part is not None:
            self._parts[part.number] = part
            self.bytes_done += part.size
