"""What of a tree differs from what is stored of it: the walk and the last head, read side by side.

Both come in the order of a segment, so that neither is held. A directory, or a run of one, whose fingerprint is that of
its line is done with in one comparison; only where they differ are rows made into entries and compared by name.
"""

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from itertools import groupby
from stat import S_ISREG

from agent.checkpoint.base import Line
from agent.checkpoint.merge import Folder, Place
from agent.checkpoint.outline import pass_of
from agent.model.checkpoint import Directory, Entry, EntryType
from agent.scratch.found import Found, row_of, row_of_entry


@dataclass(slots=True)
class Fate:
    """What became of a name that is new in a directory of the base, where a directory may have had it.

    `is_stored`: it has a row, which hides what was below that directory.
    """

    is_stored: bool = False


@dataclass(slots=True, kw_only=True)
class Fresh:
    """A name that is new or differs from its row `before`.

    `same`: as far as its times tell it is the same file; `old`: its object is too old to be referred to again.
    `stored` is its row in a restore that put it there, since when it did not change. `fate` is that of a new name in a
    directory of the base.
    """

    name: bytes
    stat: os.stat_result
    before: Entry | None
    same: bool = False
    old: bool = False
    stored: Entry | None = None
    fate: Fate | None = None

    @property
    def is_file(self) -> bool:
        return S_ISREG(self.stat.st_mode)

    @property
    def changed_ns(self) -> int:
        """When it changed last, as far as its times tell."""
        return max(self.stat.st_mtime_ns, self.stat.st_ctime_ns)


@dataclass(slots=True, kw_only=True)
class Change:
    """What differs in a directory, or in a run of it, and how much does not.

    `home` is the directory without what is in it; its stat is None unless it is to be stored. `is_met`: it was walked;
    else it, or a part of what it held, is gone. `is_known`: the base has it. `gone` are names to be hidden, `instead`
    the fate of what has that name now: its row hides it, once there is one. `replaces`: where it stands the base has
    something that is no directory. `lost` are the rows that no longer count, `lost_directories` how many directories.
    `entries` are what was made of `fresh`.
    """

    home: Directory
    is_met: bool = True
    is_known: bool = True
    is_first: bool = True
    fresh: list[Fresh] = field(default_factory=list)
    gone: list[bytes] = field(default_factory=list)
    instead: Fate | None = None
    replaces: bool = False
    lost: list[Entry] = field(default_factory=list)
    lost_directories: int = 0
    entries: list[tuple[Entry, Fresh]] = field(default_factory=list)
    files: int = 0
    bytes: int = 0


class Comparison:
    """`since`: the id of a pass; what was stored before it has to be stored again before a head names it."""

    def __init__(self, base: Iterable[Folder[Line]], *, since: str = "") -> None:
        self._folders = iter(base)
        self._folder = next(self._folders, None)
        self._since = since
        self._above: list[_Met] = []
        self._closed: Place | None = None
        self._gone: Place | None = None

    def changes(self, found: Iterable[Found]) -> Iterator[Change]:
        """Yield what differs between the base and a walk of all its roots. Blocking."""
        for place, runs in groupby(found, key=lambda run: run.order[:2]):
            yield from self._vanished(until=place)
            yield from self._directory(self._meet(place), runs)
        yield from self._vanished(until=None)

    def _advance(self) -> None:
        self._folder = next(self._folders, None)

    def _meet(self, place: Place) -> "_Met":
        while self._above and not _is_below(place, self._above[-1].place):
            self._above.pop()
        self._above.append(_Met(place))
        return self._above[-1]

    def _directory(self, met: "_Met", runs: Iterable[Found]) -> Iterator[Change]:
        folder = self._folder
        if folder is None or folder.place != met.place:
            yield from self._new(met, runs)
        else:
            yield from self._known(met, runs, folder)
            self._advance()

    def _new(self, met: "_Met", runs: Iterable[Found]) -> Iterator[Change]:
        for run in runs:
            if run.is_closed:
                self._closed = met.place
                return
            fresh = [Fresh(name=name, stat=stat, before=None) for name, stat in run.stats]
            replaces = not run.run and self._replaces(met.place)
            yield Change(home=run.home, is_known=False, is_first=not run.run, fresh=fresh, replaces=replaces)

    def _replaces(self, place: Place) -> bool:
        root, parts = place
        above = self._met_at((root, parts[:-1])) if parts else None
        return above is not None and parts[-1] in above.gone

    def _known(self, met: "_Met", runs: Iterable[Found], folder: Folder[Line]) -> Iterator[Change]:
        rows: _Rows | None = None
        home = Directory(root=met.place[0], path=b"/".join(met.place[1]))
        for run in runs:
            if run.is_closed:
                self._closed = met.place
                return
            met.unknown |= run.unknown
            if rows is None and (line := self._same(run, folder)) is not None:
                folder.pass_over()
                yield Change(home=home, is_first=not run.run, files=line.outline.files, bytes=line.outline.size)
                continue
            rows = rows or _Rows(folder)
            yield self._differing(met, run, rows)
        rows = rows or _Rows(folder)
        yield self._gone_after(met, home, rows)

    def _same(self, run: Found, folder: Folder[Line]) -> Line | None:
        """Return the line at hand when it says of just these names that they are as they are."""
        line = folder.line
        if line is None or line.outline.run != run.run or not line.outline.fingerprint or run.unknown:
            return None
        is_young = not line.outline.oldest or line.outline.oldest >= self._since
        return line if is_young and line.outline.fingerprint == run.fingerprint() else None

    def _differing(self, met: "_Met", run: Found, rows: "_Rows") -> Change:
        stored = rows.home
        is_same = run.run > 0 or (stored is not None and (stored.stat, stored.xattrs) == (run.stat, run.xattrs))
        home = Directory(root=run.root, path=run.path) if is_same else run.home
        change = Change(home=home, is_first=not run.run)
        for name, stat in run.stats:
            self._lose(met, change, rows.until(name))
            before = rows.take(name)
            if before is None:
                fate = met.new[name] = Fate()
                change.fresh.append(Fresh(name=name, stat=stat, before=None, fate=fate))
                continue
            same, old = not before.torn and row_of_entry(before) == row_of(stat), self._is_old(before)
            if not same or old or before.unsettled:
                change.fresh.append(Fresh(name=name, stat=stat, before=before, same=same, old=old))
            elif before.type is EntryType.FILE:
                change.files += 1
                change.bytes += stat.st_size
        return change

    def _gone_after(self, met: "_Met", home: Directory, rows: "_Rows") -> Change:
        change = Change(home=home, is_first=False)
        self._lose(met, change, rows.until(None))
        return change

    def _lose(self, met: "_Met", change: Change, lost: Iterable[Entry]) -> None:
        for entry in lost:
            if entry.name not in met.unknown:
                met.gone.add(entry.name)
                change.gone.append(entry.name)
                change.lost.append(entry)

    def _is_old(self, before: Entry) -> bool:
        return before.ref is not None and pass_of(before.ref.key) < self._since

    def _vanished(self, *, until: Place | None) -> Iterator[Change]:
        """Yield what is gone of the directories of the base that come before `until`, which the walk did not meet."""
        while (folder := self._folder) is not None and (until is None or folder.place < until):
            if self._closed is None or not _is_below(folder.place, self._closed):
                yield from self._gone_directory(folder)
            self._advance()

    def _gone_directory(self, folder: Folder[Line]) -> Iterator[Change]:
        root, parts = folder.place
        home = Directory(root=root, path=b"/".join(parts[:-1]))
        gone: list[bytes] = []
        instead = None
        if self._gone is None or not _is_below(folder.place, self._gone):
            above = self._met_at((root, parts[:-1]))
            if above is not None and parts[-1] in above.unknown:
                self._closed = folder.place
                return
            self._gone = folder.place
            gone = [parts[-1]] if parts else []
            instead = above.new.get(parts[-1]) if above is not None and parts else None
        for directory in folder.lines():
            yield Change(
                home=home,
                is_met=False,
                is_first=False,
                gone=gone,
                instead=instead,
                lost=list(directory.entries),
                lost_directories=int(not directory.run),
            )
            gone = []

    def _met_at(self, place: Place) -> "_Met | None":
        return next((met for met in reversed(self._above) if met.place == place), None)


@dataclass(slots=True)
class _Met:
    """A directory that the walk met: names that the base does not have there, that only it has, that can't be seen."""

    place: Place
    new: dict[bytes, Fate] = field(default_factory=dict)
    gone: set[bytes] = field(default_factory=set)
    unknown: set[bytes] = field(default_factory=set)


class _Rows:
    """The rows of a directory in the base, by name."""

    def __init__(self, folder: Folder[Line]) -> None:
        self._lines = folder.lines()
        first = next(self._lines, None)
        self.home = first and replace(first, entries=())
        self._entries = _entries(first, self._lines)
        self._next = next(self._entries, None)

    def until(self, name: bytes | None) -> Iterator[Entry]:
        """Yield the rows of the names that come before this one; for None all that are left."""
        while (entry := self._next) is not None and (name is None or entry.name < name):
            self._next = next(self._entries, None)
            yield entry

    def take(self, name: bytes) -> Entry | None:
        """Return the row of a name, if it is the next."""
        entry = self._next
        if entry is None or entry.name != name:
            return None
        self._next = next(self._entries, None)
        return entry


def _entries(first: Directory | None, others: Iterator[Directory]) -> Iterator[Entry]:
    if first is not None:
        yield from first.entries
    for directory in others:
        yield from directory.entries


def _is_below(place: Place, above: Place) -> bool:
    """Return whether a directory is another one or below it."""
    return place[0] == above[0] and place[1][: len(above[1])] == above[1]
