"""A restore that puts nothing anywhere: all bytes of a checkpoint are fetched and checked."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

from agent.checkpoint.place import Place
from agent.checkpoint.placing import Begun, Placed, compared
from agent.checkpoint.unfolding import Chunk, Problem
from agent.checkpoint.units import Folder, Link, Member, Range
from agent.checksum import crc64nvme
from agent.model.checkpoint import Directory

_LINES = 64
_NO_FILE = -1


class Reading:
    """A tree read for what it names, in place of `Unfolding`; no name of a file is left out as a mere link."""

    def __init__(self, lines: Iterator[Directory]) -> None:
        self._lines = lines

    def chunk(self) -> Chunk | None:
        """Return the files of some more directories, None at the end. Raises FormatInvalid."""
        lines = list(islice(self._lines, _LINES))
        return Chunk(members=[member for line in lines for member in stored(line)]) if lines else None


class Counting:
    """Takes the bytes of a range, piece by piece, for their CRC alone."""

    def __init__(self) -> None:
        self.crc = 0

    def take(self, piece: memoryview) -> None:
        self.crc = crc64nvme(piece, self.crc)


class Checking:
    """Compares bytes with what was recorded, in place of `Placing`."""

    def small(self, member: Member, data: memoryview) -> Placed:
        return compared(member, crc64nvme(data))

    def begin(self, member: Member) -> Begun:
        return Begun(member=member, working=b"%x" % id(member), fd=_NO_FILE)

    def part(self, begun: Begun, part: Range) -> Counting:  # noqa: ARG002 - nothing is written
        return Counting()

    def there(self, begun: Begun, part: Range) -> int | None:  # noqa: ARG002 - as above
        return None

    def end(self, begun: Begun) -> Placed:
        return Placed(member=begun.member, failed=False)

    def drop(self, begun: Begun) -> None:
        """Nothing was begun."""

    def link(self, link: Link) -> Placed | None:  # noqa: ARG002 - Reading finds none
        return None

    def leave(self, folders: Sequence[Folder]) -> list[Problem]:  # noqa: ARG002 - none was entered
        return []


def stored(line: Directory) -> Iterable[Member]:
    """Yield the entries of a directory that have stored bytes."""
    place = Place(root=line.root, path=line.path)
    folder = Folder(place=place, stat=None, xattrs={}, above=None, made=False)
    return (Member(folder=folder, entry=entry) for entry in line.entries if entry.ref is not None)
