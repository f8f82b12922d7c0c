"""What the kernel says of a file, as nouns of the model."""

import os
import stat
from errno import E2BIG, ENODATA, ENOTSUP, EPERM, ERANGE

from agent.model.checkpoint import EntryType, Stat

_LETTERS = {
    stat.S_IFREG: EntryType.FILE,
    stat.S_IFLNK: EntryType.SYMLINK,
    stat.S_IFSOCK: EntryType.SOCKET,
    stat.S_IFIFO: EntryType.FIFO,
    stat.S_IFBLK: EntryType.BLOCK,
    stat.S_IFCHR: EntryType.CHARACTER,
}
FORMATS = {kind: letter for letter, kind in _LETTERS.items()}
MOST_XATTRS = 1 << 20
"""Bytes. XFS has no limit; a line of a segment has, and one file shall not spoil the others."""

_NONE_OF_OURS = {ENOTSUP, ENODATA, EPERM, ERANGE, E2BIG}
"""No attributes on this file system; gone or changed since listed; `trusted.*` for a process that may not."""


def stat_of(found: os.stat_result) -> Stat:
    """Return what lstat or fstat said."""
    return Stat(
        mode=stat.S_IMODE(found.st_mode),
        uid=found.st_uid,
        gid=found.st_gid,
        size=found.st_size,
        mtime_ns=found.st_mtime_ns,
        ctime_ns=found.st_ctime_ns,
        inode=found.st_ino,
    )


def type_of(found: os.stat_result) -> EntryType | None:
    """Return the type of what is no directory; None for a type that Linux does not have today."""
    return _LETTERS.get(stat.S_IFMT(found.st_mode))


def xattrs_of(fd: int) -> dict[str, bytes]:
    """Return the extended attributes of an open file or directory, those that may be read; POSIX ACLs are among them.

    Raises OSError for what is wrong with the disk, and where there are too many.
    """
    try:
        names = os.listxattr(fd)
    except OSError as error:
        if error.errno not in _NONE_OF_OURS:
            raise
        return {}
    values = ((name, _value(fd, name)) for name in sorted(names))
    found = {name: value for name, value in values if value is not None}
    if sum(map(len, found.values())) > MOST_XATTRS:
        raise OSError(E2BIG, "more extended attributes than are saved")
    return found


def _value(fd: int, name: str) -> bytes | None:
    try:
        return os.getxattr(fd, name)
    except OSError as error:
        if error.errno not in _NONE_OF_OURS:
            raise
        return None
