"""A directory as the walk found it: names and what lstat said, and objects of the model only for what is asked for.

A million unchanged files have to be told from changed ones within seconds: they are compared by a fingerprint of each
directory, and no object is made for any of them.
"""

import marshal
import os
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from operator import attrgetter

from agent.model.checkpoint import NO_XATTRS, Directory, Entry, EntryType, Stat
from agent.scratch.attributes import FORMATS, stat_of, type_of, xattrs_of_link
from agent.scratch.tree import Tree

Row = tuple[int, int, int, int, int, int, int]
"""What has to be equal for a name to count as unchanged: mode with its type, uid, gid, size, mtime, ctime, inode."""

row_of = attrgetter("st_mode", "st_uid", "st_gid", "st_size", "st_mtime_ns", "st_ctime_ns", "st_ino")
_MARSHAL = 2
"""The last version that writes the same bytes for equal values, however often each is referred to."""


@dataclass(slots=True, kw_only=True)
class Found:
    """A run of a directory: at most 10,000 names of what is no directory, sorted, and the stat of each.

    `stat` is the directory's own, in run 0 only. `unknown` are names that are there and could not be looked at;
    `is_closed`: the directory itself could not be, and nothing is known of what is in it.
    """

    root: int
    path: bytes
    run: int = 0
    stat: Stat | None = None
    xattrs: Mapping[str, bytes] = field(default_factory=lambda: NO_XATTRS)
    names: list[bytes] = field(default_factory=list)
    stats: list[os.stat_result] = field(default_factory=list)
    unknown: set[bytes] = field(default_factory=set)
    is_closed: bool = False

    @property
    def order(self) -> tuple[int, tuple[bytes, ...], int]:
        return Directory(root=self.root, path=self.path, run=self.run).order

    @property
    def home(self) -> Directory:
        """The directory without what is in it."""
        return Directory(root=self.root, path=self.path, stat=self.stat, xattrs=self.xattrs)

    def split(self, at: int) -> "Found":
        """Keep the first `at` names; return the others as the next run."""
        rest = Found(root=self.root, path=self.path, run=self.run + 1, names=self.names[at:], stats=self.stats[at:])
        del self.names[at:], self.stats[at:]
        return rest

    @property
    def size(self) -> int:
        """How many bytes the files have."""
        return sum([found.st_size for found in self.stats])

    def fingerprint(self) -> bytes:
        return fingerprint(self.stat, self.names, map(row_of, self.stats))

    def entries(self, tree: Tree) -> Iterator[Entry]:
        """Yield what is in it as entries; links are read. Raises OSError."""
        return (
            entry
            for name, found in zip(self.names, self.stats, strict=True)
            if (entry := entry_of(tree, self.path, name, found))
        )


def fingerprint(home: Stat | None, names: Sequence[bytes], rows: Iterable[Row]) -> bytes:
    """Return what is equal for two looks at a directory, or a run of it, between which nothing changed."""
    own = () if home is None else (home.mode, home.uid, home.gid, home.mtime_ns, home.ctime_ns, home.inode)
    return blake2b(marshal.dumps((own, list(names), list(rows)), _MARSHAL), digest_size=16).digest()


def row_of_entry(entry: Entry) -> Row:
    """Return what `row_of` returns for the same file."""
    found = entry.stat
    mode = FORMATS[entry.type] | found.mode
    return (mode, found.uid, found.gid, found.size, found.mtime_ns, found.ctime_ns, found.inode)


def entry_of(tree: Tree, path: bytes, name: bytes, found: os.stat_result) -> Entry | None:
    """Return an entry without bytes; None for a type that is not known, or a link that is gone. Raises OSError."""
    kind = type_of(found)
    if kind is None:
        return None
    link = f"{found.st_dev}:{found.st_ino}" if found.st_nlink > 1 and not kind.is_skipped else ""
    if kind is not EntryType.SYMLINK:
        return Entry(name=name, type=kind, stat=stat_of(found), link=link)
    with tree.folder(path) as fd:
        target, xattrs = os.readlink(name, dir_fd=fd), xattrs_of_link(name, fd)
    return Entry(name=name, type=kind, stat=stat_of(found), target=target, link=link, xattrs=xattrs)


def is_directory(found: os.stat_result) -> bool:
    return stat.S_ISDIR(found.st_mode)
