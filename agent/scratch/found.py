"""A directory as the walk found it: names and what lstat said, and objects of the model only for what is asked for.

Files are compared by a fingerprint of each directory, and no object is made for those that did not change.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from operator import attrgetter

from agent.model.checkpoint import NO_XATTRS, Directory, Entry, EntryType, Stat
from agent.scratch.attributes import FORMATS, stat_of, type_of, xattrs_of_link
from agent.scratch.looks import Looks, Row
from agent.scratch.tree import Tree

row_of = attrgetter("st_mode", "st_uid", "st_gid", "st_size", "st_mtime_ns", "st_ctime_ns", "st_ino")


@dataclass(slots=True, kw_only=True)
class Found:
    """A run of a directory: at most 10,000 names of what is no directory, sorted, and the look at each.

    `stat` is the directory's own, in run 0 only. `unknown` are names that are there and could not be looked at;
    `is_closed`: the directory itself could not be, and nothing is known of what is in it.
    """

    root: int
    path: bytes
    run: int = 0
    stat: Stat | None = None
    xattrs: Mapping[str, bytes] = field(default_factory=lambda: NO_XATTRS)
    names: list[bytes] = field(default_factory=list)
    looks: Looks = field(default_factory=Looks)
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
        rest = Found(root=self.root, path=self.path, run=self.run + 1, names=self.names[at:], looks=self.looks[at:])
        self.names, self.looks = self.names[:at], self.looks[:at]
        return rest

    @property
    def stats(self) -> Iterator[tuple[bytes, os.stat_result]]:
        """Each name and what lstat said of it."""
        return zip(self.names, self.looks.stats(), strict=True)

    def fingerprint(self) -> bytes:
        return fingerprint(self.stat, self.names, self.looks.compared())

    def entries(self, tree: Tree) -> Iterator[Entry]:
        """Yield what is in it as entries; links are read. Raises OSError."""
        return (entry for name, found in self.stats if (entry := entry_of(tree, self.path, name, found)))


def fingerprint(home: Stat | None, names: Sequence[bytes], compared: bytes) -> bytes:
    """Return what is equal for two looks at a directory, or a run of it, between which nothing changed.

    `compared` is of all names, as `agent.scratch.looks` gives it.
    """
    own = () if home is None else (home.mode, home.uid, home.gid, home.mtime_ns, home.ctime_ns, home.inode)
    return blake2b(b"\0".join((repr(own).encode(), *names, compared)), digest_size=16).digest()


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
