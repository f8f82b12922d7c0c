"""What the kernel says of a file, as nouns of the model."""

import os
import stat
from collections.abc import Mapping
from errno import E2BIG, ENODATA, ENOTSUP, EPERM, ERANGE

from agent.model.checkpoint import NO_XATTRS, EntryType, Stat

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


def xattrs_of(fd: int) -> Mapping[str, bytes]:
    """Return the extended attributes of an open file or directory, those that may be read; POSIX ACLs are among them.

    Raises OSError for what is wrong with the disk, and where there are too many.
    """
    return _xattrs(fd, follow=True)


def xattrs_of_link(name: bytes, folder: int) -> Mapping[str, bytes]:
    """Return those of a symbolic link itself, in an open directory. Raises OSError as `xattrs_of` does."""
    return _xattrs(path_in(folder, name), follow=False)


def path_in(folder: int, name: bytes) -> bytes:
    """Return the path of a name in an open directory, for calls that take none beside a descriptor."""
    return b"/proc/self/fd/%d/%b" % (folder, name)


def _xattrs(subject: int | bytes, *, follow: bool) -> Mapping[str, bytes]:
    try:
        names = os.listxattr(subject, follow_symlinks=follow)
    except OSError as error:
        if error.errno not in _NONE_OF_OURS:
            raise
        return NO_XATTRS
    if not names:
        return NO_XATTRS
    values = ((name, _value(subject, name, follow=follow)) for name in sorted(names))
    found = {name: value for name, value in values if value is not None}
    if sum(map(len, found.values())) > MOST_XATTRS:
        raise OSError(E2BIG, "more extended attributes than are saved")
    return found


def _value(subject: int | bytes, name: str, *, follow: bool) -> bytes | None:
    try:
        return os.getxattr(subject, name, follow_symlinks=follow)
    except OSError as error:
        if error.errno not in _NONE_OF_OURS:
            raise
        return None
