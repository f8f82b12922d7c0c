"""What a restore does in one go: which files come out of one GET, and where their bytes go. Pure."""

import asyncio
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from agent.checkpoint.place import Place
from agent.model.checkpoint import Entry, ObjectRef, Stat
from agent.value import value

PART: Final = 8 << 20
"""Bytes of one GET. Larger ones cost memory per connection and gain nothing (measured: 8 to 16 MiB are alike)."""

_GAP = 64 << 10
_MEMBERS = 1024  # a pack of files of 8 KiB comes with one GET
_OPEN = 16


@dataclass(slots=True, kw_only=True)
class Folder:
    """A directory being restored. It is finished when `pending` is 0: nothing below it is on its way any more."""

    place: Place
    stat: Stat | None
    xattrs: Mapping[str, bytes]
    above: "Folder | None"
    made: bool
    pending: int = 0


@value
class Source:
    """A file that stands in its place, to be linked to: no other inode is."""

    place: Place
    name: bytes
    device: int
    inode: int


@dataclass(slots=True, kw_only=True)
class Group:
    """Names of one file. The first is restored and becomes the source, if that works; the others wait for `settled`."""

    settled: asyncio.Event = field(default_factory=asyncio.Event)
    source: Source | None = None


@value
class Member:
    """An entry and the directory it goes to."""

    folder: Folder
    entry: Entry
    group: Group | None = None


@value
class Batch:
    """Entries whose bytes come with one GET of `length` bytes from `offset`; without a key those that have none."""

    members: tuple[Member, ...]
    key: str = ""
    offset: int = 0
    length: int = 0


@value
class Large:
    """A file of several GETs."""

    member: Member
    ref: ObjectRef


@value
class Link:
    """Another name of a file that is restored elsewhere."""

    member: Member
    group: Group


@value
class Range:
    """One GET of a large file, and where its bytes go: `(offset in the file, length)` one after the other."""

    offset: int
    length: int
    spans: tuple[tuple[int, int], ...]


def ranges(ref: ObjectRef, entry: Entry, *, part: int = PART) -> Iterator[Range]:
    """Yield the GETs of a file's stored bytes in their order."""
    for start in range(0, ref.length, part):
        length = min(part, ref.length - start)
        yield Range(offset=ref.offset + start, length=length, spans=tuple(_spans(entry, start, length)))


def _spans(entry: Entry, start: int, length: int) -> Iterator[tuple[int, int]]:
    """Yield where in the file the stored bytes from `start` on belong."""
    if entry.extents is None:
        yield start, length
        return
    before = 0
    for offset, size in entry.extents:
        first, last = max(start, before), min(start + length, before + size)
        if first < last:
            yield offset + first - before, last - first
        before += size


def alone(member: Member) -> Batch:
    """Return the batch of one member."""
    ref = member.entry.ref
    if ref is None:
        return Batch(members=(member,))
    return Batch(members=(member,), key=ref.key, offset=ref.offset, length=ref.length)


def units(members: Iterable[Member]) -> Iterator[Batch | Large]:
    """Yield what to do for the members: neighbours in one pack together, in about the order given."""
    bare: list[Member] = []
    packs: dict[str, _Open] = {}
    for member in members:
        ref = member.entry.ref
        if ref is None:
            bare.append(member)
        elif ref.length > PART:
            yield Large(member=member, ref=ref)
        else:
            yield from _gathered(packs, member, ref)
        if len(bare) == _MEMBERS:
            yield Batch(members=tuple(bare))
            bare = []
    if bare:
        yield Batch(members=tuple(bare))
    yield from (pack.batch() for pack in packs.values())


@dataclass(slots=True)
class _Open:
    """A batch that may still grow."""

    key: str
    offset: int
    end: int
    members: list[Member] = field(default_factory=list)

    def takes(self, ref: ObjectRef) -> bool:
        is_next = self.end <= ref.offset <= self.end + _GAP
        return is_next and ref.offset + ref.length - self.offset <= PART and len(self.members) < _MEMBERS

    def add(self, member: Member, ref: ObjectRef) -> None:
        self.members.append(member)
        self.end = ref.offset + ref.length

    def batch(self) -> Batch:
        return Batch(key=self.key, offset=self.offset, length=self.end - self.offset, members=tuple(self.members))


def _gathered(packs: dict[str, _Open], member: Member, ref: ObjectRef) -> Iterator[Batch]:
    """Add a member to the batch of its pack; yield the one it does not fit, or the oldest when too many are open."""
    grown = packs.get(ref.key)
    if grown is None or not grown.takes(ref):
        if grown is not None:
            yield packs.pop(ref.key).batch()
        elif len(packs) == _OPEN:
            yield packs.pop(next(iter(packs))).batch()
        grown = packs[ref.key] = _Open(ref.key, ref.offset, ref.offset)
    grown.add(member, ref)
