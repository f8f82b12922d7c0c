"""A checkpoint: entries of a tree, the objects that hold their bytes, the head that makes them a checkpoint.

`docs/format.md` is the contract of what these look like in S3; this file is their shape in memory.

Stat, ObjectRef and Entry are values too, which nobody changes; they are not frozen because there are a million of each,
and to make a frozen one takes four times as long (measured).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from types import MappingProxyType
from typing import Final, NewType

from agent.value import value

CheckpointId = NewType("CheckpointId", str)
"""`20261123T091500.123Z-1a2b3c4d`: sorts by time."""

SCHEMA = 1

NO_XATTRS: Final[Mapping[str, bytes]] = MappingProxyType({})
"""One for all: there are a million of those that have none."""

PEER = "peer"
"""The `reason` of a head that has the directories of one job, and nothing else of its node."""


class EntryType(StrEnum):
    """The letter of an entry in a segment. Sockets, FIFOs and devices are recorded, never opened, not restored."""

    FILE = "f"
    SYMLINK = "l"
    SOCKET = "s"
    FIFO = "p"
    BLOCK = "b"
    CHARACTER = "c"

    @property
    def is_skipped(self) -> bool:
        return self not in {EntryType.FILE, EntryType.SYMLINK}


@dataclass(slots=True, kw_only=True)
class Stat:
    """What lstat said. `mode` is the permission bits only (0o7777); times are nanoseconds."""

    mode: int
    uid: int
    gid: int
    size: int
    mtime_ns: int
    ctime_ns: int
    inode: int


@dataclass(slots=True, kw_only=True)
class ObjectRef:
    """Where the bytes of a file are: `length` bytes from `offset` of the object at `key` (relative to the prefix).

    A large file is one object (offset 0); a small one can be a member of a pack. `crc64nvme` is that of the file's
    stored bytes. `length` is not stored: it is the file's size, or the sum of its data extents when it has holes.
    """

    key: str
    offset: int
    length: int
    crc64nvme: int


@dataclass(slots=True, kw_only=True)
class Entry:
    """A name in a directory that is not a directory. `name` is what the kernel gave: any bytes but / and NUL."""

    name: bytes
    type: EntryType
    stat: Stat
    ref: ObjectRef | None = None
    target: bytes = b""
    link: str = ""
    xattrs: Mapping[str, bytes] = field(default_factory=lambda: NO_XATTRS)
    extents: tuple[tuple[int, int], ...] | None = None
    torn: bool = False
    unsettled: bool = False


@value
class Directory:
    """One line of a segment: a directory, or a run of one that has very many entries.

    `root` is the index into the head's roots; `path` is relative to that root, b"" for the root itself. `stat` is the
    directory's own, in run 0 only. `entries` and `gone` are sorted by bytes; `gone` are names that older segments hold
    and that no longer exist.
    """

    root: int
    path: bytes
    run: int = 0
    stat: Stat | None = None
    xattrs: Mapping[str, bytes] = field(default_factory=dict)
    entries: tuple[Entry, ...] = ()
    gone: tuple[bytes, ...] = ()

    @property
    def order(self) -> tuple[int, tuple[bytes, ...], int]:
        """Sort key: depth first, siblings in byte order, which is the byte order of the path with / read as NUL."""
        return (self.root, tuple(self.path.split(b"/")) if self.path else (), self.run)


@value
class SegmentRef:
    """A segment as a head names it: authenticated by `sha256` (hex)."""

    key: str
    size: int
    sha256: str
    directories: int
    entries: int


@value
class Totals:
    """Counts of what is in a checkpoint. `bytes` are those of regular files as stored."""

    files: int = 0
    bytes: int = 0
    directories: int = 0
    symlinks: int = 0
    skipped: int = 0
    torn: int = 0


@value
class Left:
    """What was seen on the disk and is not in the checkpoint; `paths` are the first thousand, as text.

    `seen`: the walk did not come to its end, and had met so many files by then: how many more there are nobody knows.
    None when it did.
    """

    files: int = 0
    bytes: int = 0
    paths: tuple[str, ...] = ()
    seen: int | None = None


@value
class Head:
    """The commit: a checkpoint exists if and only if its head does (P2)."""

    checkpoint: CheckpointId
    n: int
    cluster: str
    node: str
    instance_id: str
    boot_id: str
    writer: str
    created_at: datetime
    reason: str
    roots: tuple[bytes, ...]
    segments: tuple[SegmentRef, ...]
    complete: bool
    quiesced: bool
    totals: Totals
    left: Left
    notice: Mapping[str, object] | None = None
    jobs: tuple[Mapping[str, object], ...] = ()
    schema: int = SCHEMA


@value
class Commit:
    """A head that S3 acknowledged: `key` without the prefix, `digest` the SHA-256 (hex) of its bytes."""

    head: Head
    key: str
    digest: str
