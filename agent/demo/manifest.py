"""What a tree holds, down to the nanosecond, and where two trees differ."""

import hashlib
import os
import stat
from collections.abc import Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Final

from agent.errors import TransientError
from agent.value import value

CHUNK: Final = 1 << 20
NOT_STORED: Final = frozenset({"FIFO", "socket", "device"})
"""Kinds that a checkpoint records and does not bring back (docs/format.md)."""


class TreeUnreadable(TransientError):
    """A tree went away or changed while it was read."""


@value
class Entry:
    """One name of a tree. `content` is a file's SHA-256 or a link's target; `links` are all names of the same file."""

    kind: str
    mode: int
    owner: tuple[int, int]
    mtime_ns: int
    size: int
    content: str
    links: tuple[bytes, ...]
    xattrs: tuple[tuple[str, bytes], ...]


Manifest = Mapping[bytes, Entry]
"""By path below the root; the root itself is `b""`."""


@value
class Difference:
    """A path that is not as it was; `what` names the fields, or says that it is missing or new."""

    path: bytes
    what: str


def differences(before: Manifest, after: Manifest) -> list[Difference]:
    """Return where `after` is not `before`, by path; what no checkpoint stores may be missing."""
    found = []
    for path in sorted(before.keys() | after.keys()):
        what = _difference(before.get(path), after.get(path))
        if what:
            found.append(Difference(path=path, what=what))
    return found


def _difference(before: Entry | None, after: Entry | None) -> str:
    if before is None:
        return "was not there"
    if after is None:
        return "" if before.kind in NOT_STORED else "missing"
    return ", ".join(f.name for f in fields(Entry) if getattr(before, f.name) != getattr(after, f.name))


def read(root: Path) -> Manifest:
    """Return the manifest of a tree at rest. No link is followed, no FIFO opened. Raises TreeUnreadable."""
    try:
        found = {path: os.lstat(os.fsencode(root) + b"/" + path) for path in _paths(os.fsencode(root))}
        same = _hard_links(found)
        return {path: _entry(os.fsencode(root) + b"/" + path, each, same) for path, each in found.items()}
    except OSError as error:
        raise TreeUnreadable("read", str(root), error.strerror or repr(error)) from error


def _paths(root: bytes, below: bytes = b"") -> Iterator[bytes]:
    yield below
    with os.scandir(root + b"/" + below) as entries:
        for entry in entries:
            path = below + b"/" + entry.name if below else entry.name
            if entry.is_dir(follow_symlinks=False):
                yield from _paths(root, path)
            else:
                yield path


def _hard_links(found: Mapping[bytes, os.stat_result]) -> Mapping[int, tuple[bytes, ...]]:
    names: dict[int, list[bytes]] = {}
    for path, status in found.items():
        if status.st_nlink > 1 and not stat.S_ISDIR(status.st_mode):
            names.setdefault(status.st_ino, []).append(path)
    return {inode: tuple(sorted(paths)) for inode, paths in names.items()}


def _entry(path: bytes, status: os.stat_result, same: Mapping[int, tuple[bytes, ...]]) -> Entry:
    kind = _kind(status.st_mode)
    return Entry(
        kind=kind,
        mode=stat.S_IMODE(status.st_mode),
        owner=(status.st_uid, status.st_gid),
        mtime_ns=status.st_mtime_ns,
        size=0 if kind == "directory" else status.st_size,
        content=_content(path, kind),
        links=same.get(status.st_ino, ()),
        xattrs=tuple((name, os.getxattr(path, name, follow_symlinks=False)) for name in sorted(_names(path))),
    )


def _kind(mode: int) -> str:
    kinds = {stat.S_IFREG: "file", stat.S_IFDIR: "directory", stat.S_IFLNK: "link"}
    kinds |= {stat.S_IFIFO: "FIFO", stat.S_IFSOCK: "socket"}
    return kinds.get(stat.S_IFMT(mode), "device")


def _content(path: bytes, kind: str) -> str:
    if kind == "link":
        return os.readlink(path).hex()  # noqa: PTH115 - a Path would tidy the target up
    if kind != "file":
        return ""
    digest = hashlib.sha256()
    with open(path, "rb", buffering=0) as file:  # noqa: PTH123 - a Path can't hold a name that is not UTF-8
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def _names(path: bytes) -> list[str]:
    return os.listxattr(path, follow_symlinks=False)
