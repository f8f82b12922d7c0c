"""The one tree that the segments of a head describe together, as a stream: `docs/format.md`, "Merging".

All segments are read side by side in their common order, so that memory does not grow with the number of files: held
are one line of each segment, and the names gone from the directories above the one at hand.
"""

import heapq
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from agent.checkpoint.segment import RUN_BYTES, RUN_ENTRIES, weight
from agent.model.checkpoint import Directory, Entry

_Place = tuple[int, tuple[bytes, ...]]


def merge(segments: Sequence[Iterable[Directory]], *, keep_gone: bool = False) -> Iterator[Directory]:
    """Yield the tree that `segments`, oldest first, describe: nothing gone in it, in the order of a segment.

    With `keep_gone` the names gone are kept, so that what comes out can take the place of `segments` where there are
    older ones before them. A directory comes in runs of at most 10,000 names again.
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
        yield from _directory(believed, shadow, keep_gone=keep_gone)
        for cursor in here:
            cursor.leave(place)
        if shadow.gone:
            shadows.append(shadow)
        waiting = [cursor for cursor in waiting if cursor.line is not None]


@dataclass(slots=True)
class _Cursor:
    """A segment and where it is being read. `age` counts from the oldest, 0."""

    age: int
    lines: Iterator[Directory]
    line: Directory | None = None
    place: _Place = (0, ())

    def __post_init__(self) -> None:
        self.advance()

    def advance(self) -> None:
        self.line = next(self.lines, None)
        if self.line is not None:
            root, parts, _ = self.line.order
            self.place = (root, parts)

    def leave(self, place: _Place) -> None:
        """Go on to the first line of another directory."""
        while self.line is not None and self.place == place:
            self.advance()

    def runs(self) -> Iterator[Directory]:
        """Yield the line at hand and those that go on with its directory."""
        place = self.place
        while self.line is not None and self.place == place:
            yield self.line
            self.advance()


@dataclass(slots=True)
class _Shadow:
    """The names that are gone from one directory, each with the age of the newest segment that says so."""

    place: _Place
    gone: dict[bytes, int] = field(default_factory=dict)

    def covers(self, place: _Place) -> bool:
        root, parts = self.place
        return place[0] == root and len(place[1]) > len(parts) and place[1][: len(parts)] == parts

    def believed_from(self, place: _Place) -> int:
        """Return the age from which segments are believed about `place`, which this covers."""
        return self.gone.get(place[1][len(self.place[1])], 0)


def _leave(shadows: list[_Shadow], place: _Place) -> None:
    while shadows and not shadows[-1].covers(place):
        shadows.pop()


def _oldest_believed(shadows: Iterable[_Shadow], place: _Place) -> int:
    return max((shadow.believed_from(place) for shadow in shadows), default=0)


def _directory(cursors: Sequence[_Cursor], shadow: _Shadow, *, keep_gone: bool) -> Iterator[Directory]:
    """Yield one directory out of the segments that have it, and leave in `shadow` what is gone from it."""
    lines = [cursor.line for cursor in cursors if cursor.line is not None]
    if not lines:
        return
    if len(cursors) == 1:
        yield from _alone(cursors[0], shadow, keep_gone=keep_gone)
        return
    first = next((line for line in reversed(lines) if line.stat is not None), lines[-1])
    first = replace(first, entries=(), gone=())
    ordered = heapq.merge(*(_mentions(cursor) for cursor in cursors))
    yield from _in_runs(first, _standing(ordered, shadow, keep_gone=keep_gone))


def _alone(cursor: _Cursor, shadow: _Shadow, *, keep_gone: bool) -> Iterator[Directory]:
    """Yield the directory of the only segment that has it; most directories are such."""
    for line in cursor.runs():
        shadow.gone.update(dict.fromkeys(line.gone, cursor.age))
        yield line if keep_gone or not line.gone else replace(line, gone=())


_Mention = tuple[bytes, int, bool, tuple[Entry, ...]]


def _mentions(cursor: _Cursor) -> Iterator[_Mention]:
    """Yield what a segment says of the names in the directory at hand, by name: `(name, -age, is gone, entry)`.

    Of one name the newest segment sorts first, and there the row before the tombstone that it stands on.
    """
    for line in cursor.runs():
        rows = ((entry.name, -cursor.age, False, (entry,)) for entry in line.entries)
        gone: Iterator[_Mention] = ((name, -cursor.age, True, ()) for name in line.gone)
        yield from heapq.merge(rows, gone) if line.gone else rows


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
