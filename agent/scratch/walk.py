"""The tree as it stands: one line per directory, in the order of a segment (`Directory.order`).

Blocking; a generator, so that whoever drains it sets the pace. What vanishes under the walk is dropped, what can't be
read becomes a problem and the walk goes on. Other file systems mounted below are left out.
"""

import os
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import replace
from errno import ELOOP, ENAMETOOLONG, ENOENT, ENOTDIR, ENXIO, EXDEV
from stat import S_ISDIR

from agent.scratch.attributes import stat_of, xattrs_of
from agent.scratch.found import Found
from agent.scratch.looks import SLICE, Looking, Looks, device_number
from agent.scratch.patterns import matcher
from agent.scratch.tree import Tree
from agent.scratch.unfinished import drop_unfinished
from agent.value import value

RUN = 10_000
LONGEST_PATH = 1 << 16
"""Bytes. Paths add up to the square of their depth: no job user shall fill the memory with one deep chain."""

_GONE = {ENOENT, ENOTDIR, ELOOP, ENXIO, EXDEV}
"""Vanished, or swapped for a file, a link, a socket or a mount point since its parent was listed."""


@value
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

    `exclude` are `agent.scratch.patterns`. `only`: paths relative to the root, of which nothing is above or beside but
    the directories that lead there; None is everything. Only directories are entered for whose path `reach` is true.
    """

    def __init__(
        self,
        tree: Tree,
        *,
        root: int = 0,
        exclude: Sequence[str] = (),
        only: Sequence[bytes] | None = None,
        reach: Callable[[bytes], bool] | None = None,
        report: Callable[[Problem], None],
    ) -> None:
        self._tree = tree
        self._root = root
        self._excluded = matcher(exclude)
        self._only = only
        self._reach = reach
        self._report = report
        self._looking = Looking()

    def __iter__(self) -> Iterator[Found]:
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
            if self._reach is not None and not self._reach(below):
                continue
            if len(below) > LONGEST_PATH:
                yield self._closed(below, OSError(ENAMETOOLONG, os.strerror(ENAMETOOLONG)))
                continue
            stack.append((below, iter((yield from self._directory(below)))))

    def _directory(self, path: bytes) -> Generator[Found, None, list[bytes]]:
        """Yield the runs of one directory; return the names of the directories in it."""
        children: list[bytes] = []
        try:
            with self._tree.folder(path) as fd:
                yield from self._runs(path, fd, children)
        except OSError as error:
            if not path or not is_gone(error):
                yield self._closed(path, error)
        return children

    def _runs(self, path: bytes, fd: int, children: list[bytes]) -> Iterator[Found]:
        own = replace(stat_of(os.fstat(fd)), size=0)  # of a directory it says nothing
        run = Found(root=self._root, path=path, stat=own, xattrs=xattrs_of(fd))
        for names in _slices(self._listed(path, fd)):
            self._look(run, fd, names, children)
            while len(run.names) > RUN:
                rest = run.split(RUN)
                yield run
                run = rest
        yield run

    def _listed(self, path: bytes, fd: int) -> list[bytes]:
        """Return the names in a directory, in the order of their bytes."""
        names = _sorted(os.listdir(fd))
        drop_unfinished(names)
        if self._only is not None:
            names = [name for name in names if _leads(join(path, name), self._only)]
        if self._excluded is None:
            return names
        return [name for name in names if not self._excluded(join(path, name))]

    def _look(self, run: Found, fd: int, names: list[bytes], children: list[bytes]) -> None:
        """Put into `run` what lstat says of the names; the names of directories into `children`."""
        try:
            looks = self._looking.look(fd, names)
        except OSError:
            names, looks = self._look_carefully(run, fd, names)
        ours = device_number(self._tree.device)
        if looks.are_files_on(ours):
            run.names += names
            run.looks += looks
            return
        files: list[int] = []
        for number, (name, device, mode) in enumerate(zip(names, looks.devices, looks.modes, strict=True)):
            if device == ours and S_ISDIR(mode):
                children.append(name)
            elif device == ours:
                files.append(number)
        run.names += [names[number] for number in files]
        run.looks += looks.some(files)

    def _look_carefully(self, run: Found, fd: int, names: list[bytes]) -> tuple[list[bytes], Looks]:
        """Return those names of which lstat says something, and what. Of the others some vanished."""
        seen, looks = [], Looks()
        for name in names:
            try:
                looks += self._looking.look(fd, [name])
            except OSError as error:
                if not is_gone(error):
                    run.unknown.add(name)
                    self._problem(join(run.path, name), error)
            else:
                seen.append(name)
        return seen, looks

    def _closed(self, path: bytes, error: OSError) -> Found:
        self._problem(path, error)
        return Found(root=self._root, path=path, is_closed=True)

    def _problem(self, path: bytes, error: OSError) -> None:
        self._report(Problem(path=join(self._tree.path, path), detail=error.strerror or repr(error)))


def _sorted(paths: list[str]) -> list[bytes]:
    """Return names in the order of their bytes, which is that of their characters where all are UTF-8."""
    try:
        return "\0".join(sorted(paths)).encode().split(b"\0") if paths else []
    except UnicodeEncodeError:
        return sorted(map(os.fsencode, paths))


def _slices(names: list[bytes]) -> Iterator[list[bytes]]:
    for start in range(0, len(names), SLICE):
        yield names[start : start + SLICE]


def join(path: bytes, name: bytes) -> bytes:
    """Return the path of `name` in the directory `path`; either may be empty."""
    if not path or not name:
        return path or name
    return path + name if path.endswith(b"/") else path + b"/" + name


def _leads(path: bytes, only: Sequence[bytes]) -> bool:
    """Tell whether a path is one of `only`, below one, or on the way to one."""
    below, ways = path + b"/", [one + b"/" for one in only]
    return any(below.startswith(way) or way.startswith(below) for way in ways)
