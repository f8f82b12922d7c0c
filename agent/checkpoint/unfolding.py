"""The first half of a restore: directories are made and what is already there is seen, chunk by chunk. Blocking.

Only directories change here; what is to be fetched and written is handed on as units.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final, Self

from agent.checkpoint.newfile import Standing, standing
from agent.checkpoint.place import Place
from agent.checkpoint.target import Target
from agent.checkpoint.units import Batch, Folder, Group, Large, Link, Member, Source, units
from agent.model.checkpoint import Directory, Entry
from agent.scratch.unfinished import is_unfinished
from agent.value import value

_CHUNK: Final = 2_000
_DIRECTORY: Final = 20
"""A directory costs about as much as so many entries."""

_GroupKey = tuple[str, int, int, int, bytes]


@value
class Problem:
    """Something that was not restored, or not as it was. `damaged`: the stored bytes are not those recorded."""

    root: int
    path: bytes
    detail: str
    key: str = ""
    damaged: bool = False

    @classmethod
    def at(cls, place: Place, name: bytes, detail: str) -> Self:
        """Return the problem of a name in a directory."""
        return cls(root=place.root, path=b"/".join(filter(None, (place.path, name))), detail=detail)


@dataclass(slots=True, kw_only=True)
class Chunk:
    """What came out of some lines: directories entered and left for good, units to do, names already there."""

    entered: list[Folder] = field(default_factory=list)
    left: list[Folder] = field(default_factory=list)
    members: list[Member] = field(default_factory=list)
    links: list[Link] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    same: list[Entry] = field(default_factory=list)
    not_made: int = 0

    def units(self) -> Iterator[Batch | Large | Link]:
        """Yield the work; links last, because the files they wait for have to be begun before them."""
        yield from units(self.members)
        yield from self.links

    def folders(self) -> Iterator[Folder]:
        """Yield the directory of every name that is on its way, as often as there are."""
        yield from (member.folder for member in self.members)
        yield from (link.member.folder for link in self.links)


class Unfolding:
    """A tree being unfolded into a target; `chunk` is called until it returns None."""

    def __init__(self, lines: Iterator[Directory], target: Target, *, overwrite: bool) -> None:
        self._lines = lines
        self._target = target
        self._overwrite = overwrite
        self._open: list[Folder] = []
        self._groups: dict[_GroupKey, Group] = {}
        self._barred: Place | None = None
        self._ended = False

    def chunk(self) -> Chunk | None:
        """Make some more directories and return what to do in them, None at the end. Raises FormatInvalid."""
        if self._ended:
            return None
        chunk = Chunk()
        weight = 0
        for line in self._lines:
            self._unfold(line, chunk)
            weight += len(line.entries) + _DIRECTORY
            if weight >= _CHUNK:
                return chunk
        self._ended = True
        self._leave(None, chunk)
        return chunk

    def _unfold(self, line: Directory, chunk: Chunk) -> None:
        place = Place(root=line.root, path=line.path)
        if self._barred is not None and (place == self._barred or _is_below(place, self._barred)):
            return
        try:
            folder = self._enter(place, line, chunk)
            self._entries(folder, line, chunk)
        except OSError as error:
            self._barred = place
            detail = f"{error.strerror}: nothing in this directory was restored"
            chunk.problems.append(Problem(root=place.root, path=place.path, detail=detail))

    def _enter(self, place: Place, line: Directory, chunk: Chunk) -> Folder:
        if self._open and self._open[-1].place == place:
            return self._open[-1]
        self._leave(place, chunk)
        above = self._open[-1] if self._open else None
        made = self._target.enter(place)
        folder = Folder(place=place, stat=line.stat, xattrs=line.xattrs, above=above, made=made)
        self._open.append(folder)
        chunk.entered.append(folder)
        return folder

    def _leave(self, place: Place | None, chunk: Chunk) -> None:
        """Leave the directories that `place` is not below, the deepest first."""
        while self._open and (place is None or not _is_below(place, self._open[-1].place)):
            chunk.left.append(self._open.pop())

    def _entries(self, folder: Folder, line: Directory, chunk: Chunk) -> None:
        wanted = [entry for entry in line.entries if is_made(entry)]
        chunk.not_made += len(line.entries) - len(wanted)
        if folder.made or not wanted:
            for entry in wanted:
                self._add(folder, entry, chunk)
            return
        with self._target.folder(folder.place) as fd:
            for entry in wanted:
                self._look(fd, folder, entry, chunk)

    def _look(self, fd: int, folder: Folder, entry: Entry, chunk: Chunk) -> None:
        """Add an entry of a directory that was there before, unless it is there too."""
        try:
            standing_now, found = standing(fd, entry)
        except OSError as error:
            chunk.problems.append(Problem.at(folder.place, entry.name, error.strerror or repr(error)))
            return
        if standing_now is Standing.SAME and found is not None:
            chunk.same.append(entry)
            source = Source(place=folder.place, name=entry.name, device=found.st_dev, inode=found.st_ino)
            self._has_source(entry, source)
        elif standing_now is Standing.OTHER and not self._overwrite:
            detail = "something else is there, left as it is"
            chunk.problems.append(Problem.at(folder.place, entry.name, detail))
        else:
            self._add(folder, entry, chunk)

    def _add(self, folder: Folder, entry: Entry, chunk: Chunk) -> None:
        if not entry.link:
            chunk.members.append(Member(folder=folder, entry=entry))
            return
        group = self._groups.get(_group(entry))
        if group is None:
            group = self._groups[_group(entry)] = Group()
            chunk.members.append(Member(folder=folder, entry=entry, group=group))
        else:
            chunk.links.append(Link(member=Member(folder=folder, entry=entry), group=group))

    def _has_source(self, entry: Entry, source: Source) -> None:
        if entry.link and _group(entry) not in self._groups:
            group = self._groups[_group(entry)] = Group(source=source)
            group.settled.set()


def is_made(entry: Entry) -> bool:
    """Whether a restore makes this: no sockets, FIFOs and devices; nor what a restore that was cut left in a tree."""
    return not entry.type.is_skipped and not is_unfinished(entry.name)


def _is_below(place: Place, above: Place) -> bool:
    return place.root == above.root and (not above.path or place.path.startswith(above.path + b"/"))


def _group(entry: Entry) -> _GroupKey:
    """Names of one file agree in all of this; a delta may know one of them that has changed since."""
    crc = entry.ref.crc64nvme if entry.ref is not None else 0
    return (entry.link, entry.stat.size, entry.stat.mtime_ns, crc, entry.target)
