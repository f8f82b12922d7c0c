"""The one tree that the segments of a head describe together, as a stream: `docs/format.md`, "Merging".

All segments are read side by side in their common order, so that memory does not grow with the number of files: held
are one line of each segment, and the names gone from the directories above the one at hand.
"""

import heapq
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Generic, Protocol, TypeVar

from agent.checkpoint.segment import RUN_BYTES, RUN_ENTRIES, weight
from agent.model.checkpoint import Directory, Entry

Place = tuple[int, tuple[bytes, ...]]
"""Where a directory stands among all others: its root, and its path in parts."""


class Ordered(Protocol):
    @property
    def order(self) -> tuple[int, tuple[bytes, ...], int]: ...


L = TypeVar("L", bound=Ordered)


def merge(segments: Sequence[Iterable[Directory]], *, keep_gone: bool = False) -> Iterator[Directory]:
    """Yield the tree that `segments`, oldest first, describe: nothing gone in it, in the order of a segment.

    With `keep_gone` the names gone are kept, so that what comes out can take the place of `segments` where there are
    older ones before them. A directory comes in runs of at most 10,000 names again.
    """
    for folder in folders(segments, lambda line: line):
        yield from folder.lines(keep_gone=keep_gone)


def folders(segments: Sequence[Iterable[L]], read: Callable[[L], Directory]) -> Iterator["Folder[L]"]:
    """Yield each directory that some segment has, once, in their common order.

    A line need not be a Directory, as long as `read` makes it one: many are passed over unread. What is not asked of a
    Folder before the next is, is passed over. The caller reads the `lines` of those that have names gone.
    """
    cursors = [_Cursor(age, iter(segment)) for age, segment in enumerate(segments)]
    waiting = [cursor for cursor in cursors if cursor.line is not None]
    shadows: list[_Shadow] = []
    while waiting:
        place = min(cursor.place for cursor in waiting)
        here = [cursor for cursor in waiting if cursor.place == place]
        _leave(shadows, place)
        oldest = _oldest_believed(shadows, place)
        shadow = _Shadow(place)
        believed = [cursor for cursor in here if cursor.age >= oldest]
        if believed:
            yield Folder(place, believed, shadow, read)
        for cursor in here:
            cursor.leave(place)
        if shadow.gone:
            shadows.append(shadow)
        waiting = [cursor for cursor in waiting if cursor.line is not None]


@dataclass(slots=True)
class _Cursor(Generic[L]):
    """A segment and where it is being read. `age` counts from the oldest, 0."""

    age: int
    source: Iterator[L]
    line: L | None = None
    place: Place = (0, ())

    def __post_init__(self) -> None:
        self.advance()

    def advance(self) -> None:
        self.line = next(self.source, None)
        if self.line is not None:
            root, parts, _ = self.line.order
            self.place = (root, parts)

    def leave(self, place: Place) -> None:
        """Go on to the first line of another directory."""
        while self.line is not None and self.place == place:
            self.advance()

    def runs(self, place: Place) -> Iterator[L]:
        """Yield the line at hand and those that go on with its directory."""
        while self.line is not None and self.place == place:
            yield self.line
            self.advance()


@dataclass(slots=True)
class Folder(Generic[L]):
    """A directory and the segments that have it and are believed about it."""

    place: Place
    _cursors: list[_Cursor[L]]
    _shadow: "_Shadow"
    _read: Callable[[L], Directory]

    @property
    def line(self) -> L | None:
        """The line at hand of the only segment that has the directory; None where there are several, and at its end."""
        cursor = self._cursors[0]
        return cursor.line if len(self._cursors) == 1 and cursor.place == self.place else None

    def pass_over(self) -> None:
        """Go on to the next line of the only segment."""
        self._cursors[0].advance()

    def lines(self, *, keep_gone: bool = False) -> Iterator[Directory]:
        """Yield what the segments say together, in runs, from the line at hand on."""
        if len(self._cursors) == 1:
            yield from self._lines_of_one(self._cursors[0], keep_gone=keep_gone)
            return
        first = replace(self._newest_with_stat(), entries=(), gone=())
        ordered = heapq.merge(*(self._mentions(cursor) for cursor in self._cursors))
        yield from _in_runs(first, _standing(ordered, self._shadow, keep_gone=keep_gone))

    def _lines_of_one(self, cursor: _Cursor[L], *, keep_gone: bool) -> Iterator[Directory]:
        skipped = 0
        for line in map(self._read, cursor.runs(self.place)):
            self._shadow.gone.update(dict.fromkeys(line.gone, cursor.age))
            gone = line.gone if keep_gone else ()
            if line.run and not line.entries and not gone:
                skipped += 1
            elif skipped or gone != line.gone:
                yield replace(line, run=line.run - skipped, gone=gone)
            else:
                yield line

    def _newest_with_stat(self) -> Directory:
        lines = [self._read(cursor.line) for cursor in reversed(self._cursors) if cursor.line is not None]
        return next((line for line in lines if line.stat is not None), lines[0])

    def _mentions(self, cursor: _Cursor[L]) -> Iterator["_Mention"]:
        """Yield what a segment says of the names in the directory, by name: `(name, -age, is gone, entry)`.

        Of one name the newest segment sorts first, and there the row before the tombstone that it stands on.
        """
        for line in map(self._read, cursor.runs(self.place)):
            rows = ((entry.name, -cursor.age, False, (entry,)) for entry in line.entries)
            gone: Iterator[_Mention] = ((name, -cursor.age, True, ()) for name in line.gone)
            yield from heapq.merge(rows, gone) if line.gone else rows


@dataclass(slots=True)
class _Shadow:
    """The names that are gone from one directory, each with the age of the newest segment that says so."""

    place: Place
    gone: dict[bytes, int] = field(default_factory=dict)

    def covers(self, place: Place) -> bool:
        root, parts = self.place
        return place[0] == root and len(place[1]) > len(parts) and place[1][: len(parts)] == parts

    def believed_from(self, place: Place) -> int:
        """Return the age from which segments are believed about `place`, which this covers."""
        return self.gone.get(place[1][len(self.place[1])], 0)


def _leave(shadows: list[_Shadow], place: Place) -> None:
    while shadows and not shadows[-1].covers(place):
        shadows.pop()


def _oldest_believed(shadows: Iterable[_Shadow], place: Place) -> int:
    return max((shadow.believed_from(place) for shadow in shadows), default=0)


_Mention = tuple[bytes, int, bool, tuple[Entry, ...]]


def _standing(mentions: Iterable[_Mention], shadow: _Shadow, *, keep_gone: bool) -> Iterator[_Mention]:
    """Yield the newest row of each name unless something newer says it is gone; and what is gone, when kept."""
    last: bytes | None = None
    for mention in mentions:
        name, minus_age, is_gone, _ = mention
        if is_gone and name not in shadow.gone:
            shadow.gone[name] = -minus_age
            if keep_gone:
                yield mention
        elif not is_gone and name != last:
            yield mention
        last = name


def _in_runs(first: Directory, mentions: Iterable[_Mention]) -> Iterator[Directory]:
    run, size, names = 0, 0, 0
    entries: list[Entry] = []
    gone: list[bytes] = []
    last: bytes | None = None
    for name, _, is_gone, entry in mentions:
        if name != last and (names == RUN_ENTRIES or size > RUN_BYTES):
            yield _run(first, run, entries, gone)
            run, size, names, entries, gone = run + 1, 0, 0, [], []
        if is_gone:
            gone.append(name)
            size += len(name)
        else:
            entries += entry
            size += weight(entry[0])
        names += name != last
        last = name
    if names or run == 0:
        yield _run(first, run, entries, gone)


def _run(first: Directory, run: int, entries: Sequence[Entry], gone: Sequence[bytes]) -> Directory:
    if run == 0:
        return replace(first, entries=tuple(entries), gone=tuple(gone))
    return replace(first, run=run, stat=None, xattrs={}, entries=tuple(entries), gone=tuple(gone))
