"""The tree as it stands: one line per directory, in the order of a segment (`Directory.order`).

Blocking; a generator, so that whoever drains it sets the pace. What vanishes under the walk is dropped, what can't be
read becomes a problem and the walk goes on. Other file systems mounted below are left out.
"""

import fnmatch
import os
import re
import stat
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from errno import ELOOP, ENAMETOOLONG, ENOENT, ENOTDIR, ENXIO, EXDEV
from itertools import islice

from agent.model.checkpoint import Directory, Entry, EntryType
from agent.scratch.attributes import stat_of, type_of, xattrs_of
from agent.scratch.tree import Tree

RUN = 10_000
LONGEST_PATH = 1 << 16
"""Bytes. Paths add up to the square of their depth: no job user shall fill the memory with one deep chain."""

_GONE = {ENOENT, ENOTDIR, ELOOP, ENXIO, EXDEV}
"""Vanished, or swapped for a file, a link, a socket or a mount point since its parent was listed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """Something on the disk that is there and can't be saved. `path` is complete, root included."""

    path: bytes
    detail: str
    size: int = 0


def is_gone(error: OSError) -> bool:
    """Whether the error says that what was seen is no longer there: no problem, it is just not saved."""
    return error.errno in _GONE


class Walk:
    """All directories below `tree`, which is number `root` of a checkpoint.

    `exclude`: patterns of `fnmatch` on the path relative to the root, `*` matches `/` too; what is below a directory
    that matches is left out with it.
    """

    def __init__(
        self, tree: Tree, *, root: int = 0, exclude: Sequence[str] = (), report: Callable[[Problem], None]
    ) -> None:
        self._tree = tree
        self._root = root
        self._excluded = _matcher(exclude)
        self._report = report

    def __iter__(self) -> Iterator[Directory]:
        stack: list[tuple[bytes, Iterator[bytes]]] = []
        children = yield from self._directory(b"")
        stack.append((b"", iter(children)))
        while stack:
            path, rest = stack[-1]
            name = next(rest, None)
            if name is None:
                stack.pop()
                continue
            below = join(path, name)
            if len(below) > LONGEST_PATH:
                self._problem(below, OSError(ENAMETOOLONG, os.strerror(ENAMETOOLONG)))
                continue
            stack.append((below, iter((yield from self._directory(below)))))

    def _directory(self, path: bytes) -> Generator[Directory, None, list[bytes]]:
        """Yield the runs of one directory; return the names of the directories in it."""
        children: list[bytes] = []
        try:
            with self._tree.folder(path) as fd:
                yield from self._runs(path, fd, children)
        except OSError as error:
            if not path or not is_gone(error):
                self._problem(path, error)
        return children

    def _runs(self, path: bytes, fd: int, children: list[bytes]) -> Iterator[Directory]:
        found = stat_of(os.fstat(fd))
        xattrs = xattrs_of(fd)
        names = sorted(os.fsencode(name) for name in os.listdir(fd))
        rest = self._entries(path, fd, names, children)
        run = tuple(islice(rest, RUN))
        yield Directory(root=self._root, path=path, stat=found, xattrs=xattrs, entries=run)
        number = 1
        while len(run) == RUN and (run := tuple(islice(rest, RUN))):
            yield Directory(root=self._root, path=path, run=number, entries=run)
            number += 1

    def _entries(self, path: bytes, fd: int, names: Sequence[bytes], children: list[bytes]) -> Iterator[Entry]:
        """Yield what is no directory; put the names of the directories into `children`."""
        for name in names:
            if self._excluded is not None and self._excluded(join(path, name)):
                continue
            try:
                found = os.stat(name, dir_fd=fd, follow_symlinks=False)
                if found.st_dev != self._tree.device:
                    continue
                if stat.S_ISDIR(found.st_mode):
                    children.append(name)
                elif entry := _entry(name, found, fd):
                    yield entry
            except OSError as error:
                if not is_gone(error):
                    self._problem(join(path, name), error)

    def _problem(self, path: bytes, error: OSError) -> None:
        self._report(Problem(path=join(self._tree.path, path), detail=error.strerror or repr(error)))


def _entry(name: bytes, found: os.stat_result, fd: int) -> Entry | None:
    kind = type_of(found)
    if kind is None:
        return None
    return Entry(
        name=name,
        type=kind,
        stat=stat_of(found),
        target=os.readlink(name, dir_fd=fd) if kind is EntryType.SYMLINK else b"",
        link=f"{found.st_dev}:{found.st_ino}" if kind is EntryType.FILE and found.st_nlink > 1 else "",
    )


def join(path: bytes, name: bytes) -> bytes:
    """Return the path of `name` in the directory `path`; either may be empty."""
    if not path or not name:
        return path or name
    return path + name if path.endswith(b"/") else path + b"/" + name


def _matcher(patterns: Sequence[str]) -> Callable[[bytes], object] | None:
    if not patterns:
        return None
    every = b"|".join(os.fsencode(fnmatch.translate(pattern.strip("/"))) for pattern in patterns)
    return re.compile(every, re.DOTALL).match
