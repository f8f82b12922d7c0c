"""Small files read straight into the pack they travel in. Blocking; several packs may be made in threads side by side.

A pack is one PUT, and what is left of the cost of a small file is the reading of it: one open, no copy of its bytes.
"""

import os
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from errno import ENOENT
from itertools import groupby
from resource import RUSAGE_THREAD, getrusage
from typing import Final

from agent.checkpoint import pack
from agent.checkpoint.buffers import Buffers
from agent.checkpoint.known import known_bytes
from agent.checkpoint.ledger import Job
from agent.checkpoint.receipt import ObjectReceipt, signature
from agent.checkpoint.receipts import Receipts
from agent.checksum import crc64nvme
from agent.clock import Clock
from agent.model.checkpoint import Directory, Entry, ObjectRef, Stat
from agent.scratch.attributes import stat_of, xattrs_of
from agent.scratch.reader import extents_of, read_at
from agent.scratch.settled import is_settled, write_back
from agent.scratch.tree import Tree, open_file
from agent.scratch.walk import join
from agent.turns import SENDING

ATTEMPTS: Final = 3
"""How often a file that changes while it is read is read; after that it is stored torn."""
_SECTOR: Final = 512
_MANY: Final = 4
"""A pack of which one of so many bytes had to be read from a disk had to wait for it."""


@dataclass(slots=True, kw_only=True)
class Packed:
    """What became of some small files. `body` is the pack, empty when none of them has to be sent.

    `stored` are those in it and those that were stored before; `unfit` are no small files any more, or have holes.
    """

    key: str
    buffer: bytearray
    """What `body` is in."""
    body: memoryview = field(default_factory=lambda: memoryview(b""))
    crc64nvme: int = 0
    stored: list[tuple[Job, Entry]] = field(default_factory=list)
    lost: list[tuple[Job, OSError]] = field(default_factory=list)
    unfit: list[Job] = field(default_factory=list)
    receipts: list[ObjectReceipt] = field(default_factory=list)
    from_disk: bool = False
    """It had to be waited for: too little of it was in memory."""


@dataclass(frozen=True, slots=True)
class _Read:
    """A file that was read onto a sheet, and is not yet kept there."""

    stat: Stat
    xattrs: Mapping[str, bytes]
    crc64nvme: int
    torn: bool
    settled: bool


class Packing:
    """Makes packs of files below `below` bytes. `quiesced`: nothing can write any more."""

    def __init__(
        self,
        *,
        trees: Mapping[int, Tree],
        roots: Sequence[bytes],
        below: int,
        buffers: Buffers,
        receipts: Receipts,
        clock: Clock,
        quiesced: bool,
    ) -> None:
        self._trees = trees
        self._roots = tuple(roots)
        self._below = below
        self._buffers = buffers
        self._receipts = receipts
        self._clock = clock
        self._quiesced = quiesced

    def pack(self, jobs: Sequence[Job], key: str) -> Packed:
        """Read the files and return the pack that holds them, which is to be stored at `key`."""
        with SENDING.taken():
            return self._pack(jobs, key)

    def _pack(self, jobs: Sequence[Job], key: str) -> Packed:
        heads = [self._head(job, job.entry.stat) for job in jobs]
        room = sum(map(len, heads)) + sum(pack.padded(job.entry.stat.size) for job in jobs)
        packed = Packed(key=key, buffer=self._buffers.take(room + len(pack.END)))
        sheet, fetched = _Sheet(packed.buffer, room), _bytes_from_disk()
        for home, files in groupby(zip(jobs, heads, strict=True), key=_home):
            self._add_folder(packed, sheet, home, list(files))
        packed.from_disk = (_bytes_from_disk() - fetched) * _MANY > room
        packed.body = sheet.close()
        packed.crc64nvme = crc64nvme(packed.body)
        return packed

    def _head(self, job: Job, seen: Stat) -> bytes:
        name = pack.member_name(self._roots[job.home.root], job.path, alone=len(self._roots) == 1)
        return pack.header(name, seen)

    def _add_folder(self, packed: Packed, sheet: "_Sheet", home: Directory, files: Sequence[tuple[Job, bytes]]) -> None:
        tree, at = self._trees[home.root], self._clock.now()
        try:
            with tree.folder(home.path) as folder:
                for job, head in files:
                    self._add(packed, sheet, job, head, tree, folder, at)
        except OSError as error:  # the directory's: those of files do not come so far
            packed.lost += [(job, error) for job, _ in files]

    def _add(
        self, packed: Packed, sheet: "_Sheet", job: Job, head: bytes, tree: Tree, folder: int, at: datetime
    ) -> None:
        try:
            read = self._read(sheet, job, head, tree, folder, at)
        except OSError as error:
            packed.lost.append((job, error))
            return
        if read is None:
            packed.unfit.append(job)
            return
        path = join(self._roots[job.home.root], job.path)
        ref = None if read.torn else self._same(job, path, read)
        if ref is None:
            offset = sheet.keep(read.stat.size)
            ref = ObjectRef(key=packed.key, offset=offset, length=read.stat.size, crc64nvme=read.crc64nvme)
        packed.stored.append((job, _entry(job, read, ref if ref.length else None)))
        if self._receipts.is_kept and not read.torn:
            packed.receipts.append(_receipt(path, read, ref))

    def _same(self, job: Job, path: bytes, read: _Read) -> ObjectRef | None:
        """Return where just these bytes of the file are stored."""
        known = known_bytes(self._receipts, job, path, read.stat)
        return next((ref for ref, extents in known if (ref.crc64nvme, extents) == (read.crc64nvme, None)), None)

    def _read(self, sheet: "_Sheet", job: Job, head: bytes, tree: Tree, folder: int, at: datetime) -> _Read | None:
        """Read a file onto the sheet; return None for one that is not for a pack, or not for this one. Raises OSError.

        One that changes meanwhile is read again, the last time as it is.
        """
        for attempts_left in reversed(range(ATTEMPTS)):
            fd = open_file(job.entry.name, folder)
            try:
                found = os.fstat(fd)
                if not stat.S_ISREG(found.st_mode) or found.st_dev != tree.device:
                    raise OSError(ENOENT, "no regular file of this file system")
                seen = _seen(job, found)
                if seen is not job.entry.stat:
                    head = self._head(job, seen)
                settled = self._quiesced or (tree.shows_writes and job.is_as_met(seen) and is_settled(seen, at))
                if settled and not self._quiesced:
                    write_back(fd)
                if seen.size >= self._below or not sheet.takes(head, seen.size) or extents_of(fd, found) is not None:
                    return None
                xattrs = xattrs_of(fd)
                crc = sheet.read(head, fd, seen.size)
                torn = _differ(found, os.fstat(fd))
            finally:
                os.close(fd)
            if not torn or not attempts_left:
                break
        return _Read(seen, xattrs, crc, torn, settled)


class _Sheet:
    """The bytes of a pack being filled, from the front. What was read last stays only when it is kept."""

    def __init__(self, buffer: bytearray, room: int) -> None:
        self._view = memoryview(buffer)
        self._room = room
        self._end = 0
        self._data = 0

    def takes(self, head: bytes, size: int) -> bool:
        return self._end + len(head) + pack.padded(size) <= self._room

    def read(self, head: bytes, fd: int, size: int) -> int:
        """Read a file behind the last one that was kept; return the CRC of its bytes. Raises OSError.

        Where it is shorter than `size` there are zeros.
        """
        start = self._data = self._end + len(head)
        end = start + size
        self._view[self._end : start] = head
        at = start + read_at(fd, 0, self._view[start:end])
        last = start + pack.padded(size)
        if at < last:  # whatever was there before
            self._view[at:last] = bytes(last - at)
        return crc64nvme(self._view[start:end])

    def keep(self, size: int) -> int:
        """Keep what was read last; return where its bytes begin."""
        self._end = self._data + pack.padded(size)
        return self._data

    def close(self) -> memoryview:
        """Return the archive, nothing when it has no members."""
        if not self._end:
            return memoryview(b"")
        end = self._end + len(pack.END)
        self._view[self._end : end] = pack.END
        return self._view[:end]


def _bytes_from_disk() -> int:
    """Return how many bytes this thread has had read from disks."""
    return getrusage(RUSAGE_THREAD).ru_inblock * _SECTOR


def _home(file: tuple[Job, bytes]) -> Directory:
    return file[0].home


def _seen(job: Job, found: os.stat_result) -> Stat:
    """Return the stat of an open file, the walk's own where nothing changed since."""
    stat_ = job.entry.stat
    same = (stat_.inode, stat_.ctime_ns, stat_.mtime_ns, stat_.size)
    return stat_ if same == (found.st_ino, found.st_ctime_ns, found.st_mtime_ns, found.st_size) else stat_of(found)


def _differ(before: os.stat_result, after: os.stat_result) -> bool:
    was = (before.st_size, before.st_mtime_ns, before.st_ctime_ns)
    return was != (after.st_size, after.st_mtime_ns, after.st_ctime_ns)


def _entry(job: Job, read: _Read, ref: ObjectRef | None) -> Entry:
    """Return the entry of a file as it was when read, which may be another inode than the walk saw."""
    entry = job.entry
    return Entry(
        name=entry.name,
        type=entry.type,
        stat=read.stat,
        ref=ref,
        xattrs=read.xattrs,
        torn=read.torn,
        unsettled=not read.settled,
        link=entry.link if read.stat.inode == entry.stat.inode else "",
    )


def _receipt(path: bytes, read: _Read, ref: ObjectRef) -> ObjectReceipt:
    return ObjectReceipt(
        path=path,
        signature=signature(read.stat),
        key=ref.key,
        offset=ref.offset,
        crc64nvme=ref.crc64nvme,
        extents=None,
        xattrs=read.xattrs,
        settled=read.settled,
    )
