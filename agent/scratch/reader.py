"""The bytes of a file: opened without a link followed, checked to be what was meant, read with its checksum.

Blocking; one `Source` may be read from several threads at once.
"""

import os
import stat
import weakref
from bisect import bisect_right
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime
from errno import EINVAL, ENOENT, ENXIO
from itertools import accumulate, pairwise

from agent.checksum import crc64nvme
from agent.errors import TransientError
from agent.scratch.attributes import stat_of, xattrs_of
from agent.scratch.settled import is_settled, write_back
from agent.scratch.tree import Tree, open_file
from agent.turns import aside

MOST_EXTENTS = 10_000
"""A file in more pieces has its smallest holes stored as zeros: its row in a segment stays small."""

_PIECE = 256 * 1024

Extents = tuple[tuple[int, int], ...]


class SourceChanged(TransientError):
    """The file was written to while it was read."""


class Source:
    """An open regular file as it was when opened. Its descriptor is closed by `close`, or with the last reference."""

    def __init__(self, tree: Tree, folder: bytes, name: bytes, *, now: datetime | None = None) -> None:
        """Open it. Raises OSError; ENOENT also when the name is no regular file any more.

        `now`: the wall time; None when nothing can write any more, and pages need not be written for that to show.
        """
        with tree.folder(folder) as within:
            self._fd = open_file(name, within)
        self.close = weakref.finalize(self, os.close, self._fd)
        self.subject = os.fsdecode(b"/".join((tree.path, folder, name)))
        found = os.fstat(self._fd)
        if not stat.S_ISREG(found.st_mode) or found.st_dev != tree.device:
            self.close()
            raise OSError(ENOENT, "no regular file of this file system")
        self.stat = stat_of(found)
        if now is not None and tree.shows_writes and is_settled(self.stat, now):
            write_back(self._fd)
        self.xattrs = xattrs_of(self._fd)
        self.extents = extents_of(self._fd, found)
        self._pieces = self.extents if self.extents is not None else ((0, found.st_size),)
        self._starts = list(accumulate((length for _, length in self._pieces), initial=0))
        self.length = self._starts[-1]
        """How many bytes are stored of it: its size without the holes."""

    def read(self, offset: int, length: int) -> tuple[memoryview, int]:
        """Return `length` bytes from `offset` of the stored bytes, and their CRC-64/NVME.

        Where the file became shorter there are zeros; `check` tells. Raises OSError.
        """
        body = memoryview(bytearray(length))
        self.fill(offset, body)
        return body, crc64nvme(body)

    def flow(self, offset: int, length: int) -> "Span":
        """Return `length` of the stored bytes from `offset`, to be read by whoever sends them."""
        return Span(self, offset, length)

    def fill(self, offset: int, into: memoryview) -> None:
        """Read the stored bytes from `offset`, as `read` does, without their checksum."""
        at = 0
        for start, count in self._within(offset, len(into)):
            _read(self._fd, start, into[at : at + count])
            at += count

    def checksum(self, offset: int, length: int) -> int:
        """Return the CRC-64/NVME of a run of the stored bytes. Raises OSError."""
        buffer, found = memoryview(bytearray(min(length, _PIECE))), 0
        for start in range(0, length, _PIECE):
            piece = buffer[: min(_PIECE, length - start)]
            self.fill(offset + start, piece)
            found = crc64nvme(piece, found)
        return found

    def check(self) -> None:
        """Raise SourceChanged when the file is not what it was when opened: size, times or inode."""
        now = stat_of(os.fstat(self._fd))
        was = self.stat
        if (now.size, now.mtime_ns, now.ctime_ns) != (was.size, was.mtime_ns, was.ctime_ns):
            raise SourceChanged("read", self.subject, "it was written to while it was read")

    def _within(self, offset: int, length: int) -> Iterator[tuple[int, int]]:
        """Yield the runs of the file that are `length` stored bytes from `offset`."""
        piece = bisect_right(self._starts, offset) - 1
        while length > 0:
            start, size = self._pieces[piece]
            skipped = offset - self._starts[piece]
            count = min(size - skipped, length)
            yield start + skipped, count
            offset, length, piece = offset + count, length - count, piece + 1


class Span:
    """A run of the stored bytes of a file, read a little at a time while it is sent (agent.store.base.Flow)."""

    def __init__(self, source: Source, offset: int, length: int) -> None:
        self._source = source
        self._offset = offset
        self.size = length

    def read(self, offset: int, into: memoryview) -> None:
        """Raises OSError."""
        self._source.fill(self._offset + offset, into)


def _read(fd: int, start: int, body: memoryview) -> None:
    """Fill `body` with what is in a file from `start` on, with zeros from where the file ends."""
    done = read_at(fd, start, body)
    body[done:] = bytes(len(body) - done)


def read_at(fd: int, start: int, into: memoryview) -> int:
    """Fill `into` with what is in a file from `start` on; return how much that was: less than all where it ends.

    Steps aside while the disk is waited for. Raises OSError.
    """
    done = 0
    while done < len(into) and (count := _read_some(fd, start + done, into[done:])):
        done += count
    return done


def _read_some(fd: int, start: int, into: memoryview) -> int:
    # What is wrong, if it is not only that the disk has to be asked, the second call says. None of it may mean just
    # that, too: preadv(2), "BUGS".
    with suppress(OSError):
        if count := os.preadv(fd, [into], start, os.RWF_NOWAIT):
            return count
    with aside():
        return os.preadv(fd, [into], start)


def extents_of(fd: int, found: os.stat_result) -> Extents | None:
    """Return where the data of a file with holes is; None for a file without."""
    size = found.st_size
    if found.st_blocks * 512 >= size:
        return None
    try:
        pieces = list(_data_runs(fd, size))
    except OSError as error:
        if error.errno == EINVAL:  # a file system that can't tell
            return None
        raise
    if pieces == [(0, size)]:
        return None
    return tuple(_fewer(pieces))


def _data_runs(fd: int, size: int) -> Iterator[tuple[int, int]]:
    end = 0
    while end < size:
        try:
            start = os.lseek(fd, end, os.SEEK_DATA)
            end = min(os.lseek(fd, start, os.SEEK_HOLE), size)
        except OSError as error:
            if error.errno == ENXIO:  # nothing but a hole from here on, or it became shorter, which `check` tells
                return
            raise
        if start >= size:
            return
        yield start, end - start


def _fewer(pieces: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Join pieces over their smallest holes until there are at most `MOST_EXTENTS`."""
    surplus = len(pieces) - MOST_EXTENTS
    if surplus <= 0:
        return pieces
    holes = sorted((after[0] - sum(before), number) for number, (before, after) in enumerate(pairwise(pieces), 1))
    filled = {number for _, number in holes[:surplus]}
    joined: list[tuple[int, int]] = []
    for number, (start, length) in enumerate(pieces):
        if number in filled:
            first = joined.pop()[0]
            joined.append((first, start + length - first))
        else:
            joined.append((start, length))
    return joined
