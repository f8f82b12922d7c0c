"""A file on its way back: written under a name of its own, put in its place when it is whole. Blocking calls.

A run that is cut leaves nothing that looks like a restored file and is none, so that the next run can believe what it
finds. All names are relative to the descriptor of their directory; no link is followed (P8).
"""

import os
import stat
from collections.abc import Iterable
from contextlib import suppress
from enum import Enum, auto
from errno import EDQUOT, EEXIST, EFBIG, EIO, EMLINK, ENOSPC, ENOSYS, ENOTSUP, EPERM
from typing import Final

from agent.checkpoint.attributes import apply, apply_to_link
from agent.checkpoint.leftover import MODE
from agent.checksum import crc64nvme
from agent.model.checkpoint import Entry, EntryType

_NEW: Final = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_AT_ONCE: Final = 32 * 1024
"""Bytes of one write. The page cache holds larger ones in pieces as large, for which the kernel seldom has memory that
was used just before: on a virtual machine that gives free memory back, 512 KiB took twice the CPU, 64 KiB half more.
"""
_READ_AT_ONCE: Final = 512 * 1024
_NO_LINKS_HERE: Final = frozenset({EPERM, ENOTSUP, ENOSYS, EMLINK})


class Standing(Enum):
    """What is at a name already: nothing, what would be restored, or something else."""

    NOTHING = auto()
    SAME = auto()
    OTHER = auto()


def standing(folder: int, entry: Entry) -> tuple[Standing, os.stat_result | None]:
    """Return what is there. A file is the same by size and mtime: files appear whole. Raises OSError."""
    try:
        found = os.stat(entry.name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return Standing.NOTHING, None
    if entry.type is EntryType.SYMLINK:
        is_same = stat.S_ISLNK(found.st_mode) and os.readlink(entry.name, dir_fd=folder) == entry.target
    else:
        is_same = stat.S_ISREG(found.st_mode) and found.st_size == entry.stat.size
    is_same = is_same and found.st_mtime_ns == entry.stat.mtime_ns
    return Standing.SAME if is_same else Standing.OTHER, found


def begin(folder: int, working: bytes, entry: Entry, *, preallocate: bool) -> int:
    """Make the file under its working name, of its full size; return its descriptor. Raises OSError.

    A file with holes gets no room ahead: that would fill them.
    """
    fd = os.open(working, _NEW, MODE, dir_fd=folder)
    try:
        if preallocate and entry.extents is None:
            _reserve(fd, entry.stat.size)
        elif entry.extents is not None:
            os.ftruncate(fd, entry.stat.size)
    except OSError:
        os.close(fd)
        discard(folder, working)
        raise
    return fd


def write(fd: int, data: memoryview, spans: Iterable[tuple[int, int]]) -> None:
    """Write `data`, cut into the spans `(offset in the file, length)`. Raises OSError."""
    taken = 0
    for offset, length in spans:
        end = taken + length
        while taken < end:
            wrote = os.pwrite(fd, data[taken : min(end, taken + _AT_ONCE)], offset)
            taken += wrote
            offset += wrote  # noqa: PLW2901 - a write may be short


def crc(fd: int, spans: Iterable[tuple[int, int]]) -> int:
    """Return the CRC-64/NVME of what is in the spans `(offset, length)`, one after the other. Raises OSError."""
    checksum, buffer = 0, memoryview(bytearray(_READ_AT_ONCE))
    for offset, length in spans:
        end = offset + length
        while offset < end:
            got = os.preadv(fd, [buffer[: end - offset]], offset)
            if not got:
                raise OSError(EIO, "it became shorter")
            checksum = crc64nvme(buffer[:got], checksum)
            offset += got  # noqa: PLW2901 - a read may be short
    return checksum


def finish(fd: int, folder: int, working: bytes, entry: Entry, *, owner: bool, overwrite: bool) -> list[str]:
    """Give a whole file its attributes and put it in its place; return what could not be set.

    Raises OSError, FileExistsError where something is there and `overwrite` was not asked for.
    """
    trouble = apply(fd, entry.stat, entry.xattrs, owner=owner)
    publish(folder, working, entry.name, overwrite=overwrite)
    return trouble


def make_link(folder: int, working: bytes, entry: Entry, *, owner: bool, overwrite: bool) -> list[str]:
    """Make a symbolic link as it was; return what could not be set. Raises OSError as `finish` does."""
    os.symlink(entry.target, working, dir_fd=folder)
    trouble = apply_to_link(working, folder, entry.stat, entry.xattrs, owner=owner)
    publish(folder, working, entry.name, overwrite=overwrite)
    return trouble


def link(source: int, name: bytes, folder: int, working: bytes) -> os.stat_result:
    """Give a file that has the name `name` in the directory `source` another one; return what it is.

    Raises OSError. Who owns the directory may have put anything there meanwhile: the caller looks before `publish`.
    """
    os.link(name, working, src_dir_fd=source, dst_dir_fd=folder, follow_symlinks=False)
    return os.stat(working, dir_fd=folder, follow_symlinks=False)


def publish(folder: int, working: bytes, name: bytes, *, overwrite: bool) -> None:
    """Give what has a working name its own, without replacing anything unless `overwrite`. Raises OSError."""
    if overwrite:
        os.rename(working, name, src_dir_fd=folder, dst_dir_fd=folder)
        discard(folder, working)  # two names of one inode: rename leaves both
        return
    try:
        os.link(working, name, src_dir_fd=folder, dst_dir_fd=folder, follow_symlinks=False)
    except OSError as error:
        if error.errno not in _NO_LINKS_HERE:
            raise
        _publish_without_links(folder, working, name)
    else:
        os.unlink(working, dir_fd=folder)


def discard(folder: int, working: bytes) -> None:
    """Remove what did not become whole. Raises OSError."""
    with suppress(FileNotFoundError):
        os.unlink(working, dir_fd=folder)


def _publish_without_links(folder: int, working: bytes, name: bytes) -> None:
    """Rename where the file system has no hard links; between look and rename somebody may come, which is accepted."""
    try:
        os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        os.rename(working, name, src_dir_fd=folder, dst_dir_fd=folder)
        return
    raise FileExistsError(EEXIST, os.strerror(EEXIST))


def _reserve(fd: int, size: int) -> None:
    """Take the room now, so that a disk that is too small says so before the download."""
    try:
        os.posix_fallocate(fd, 0, size)
    except OSError as error:
        if error.errno in {ENOSPC, EDQUOT, EFBIG}:
            raise
        os.ftruncate(fd, size)
