"""What the last head of this node's tree holds: what a new pass, or a scan, is compared with.

Its segments are read side by side as they lie on the node's disk, line by line. A line is decoded only where its
outline does not say enough: memory does not grow with the number of files, what did not change costs next to nothing.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from agent.checkpoint.merge import Folder, folders
from agent.checkpoint.outline import Outline, decode
from agent.checkpoint.segment import directory_of, lines_of
from agent.model.checkpoint import Commit, Directory, Entry, Head
from agent.value import value


@value
class Layer:
    """A segment on the disk, known to be as it was written, and the outlines of its lines."""

    body: bytes
    outlines: bytes


@value
class Base:
    """A head and its segments, oldest first."""

    commit: Commit
    layers: Sequence[Layer]

    @property
    def head(self) -> Head:
        return self.commit.head

    def folders(self) -> Iterator["Folder[Line]"]:
        """Yield every directory, in the order of a segment. Blocking."""
        return folders([_Reading(layer).lines() for layer in self.layers], Line.read)

    def below(self, paths: Sequence[bytes]) -> Iterator[Directory]:
        """Yield what it holds of the directories at these complete paths, but for files that are to be read again.

        Some may be gone since with a directory above them. Blocking.
        """
        for folder in self.folders():
            root, parts = folder.place
            here = b"/".join((self.head.roots[root].rstrip(b"/"), *parts, b""))
            if any(here.startswith(path + b"/") for path in paths):
                left = (replace(line, entries=tuple(filter(_is_final, line.entries))) for line in folder.lines())
                for run, line in enumerate(line for line in left if line.entries):
                    yield Directory(root=line.root, path=line.path, run=run, entries=line.entries)


def _is_final(entry: Entry) -> bool:
    return not (entry.torn or entry.unsettled)


class _Reading:
    """A segment under way: its outlines run ahead, its lines follow where they are asked for."""

    def __init__(self, layer: Layer) -> None:
        self._layer = layer
        self._raw = enumerate(lines_of(layer.body))

    def lines(self) -> "Iterator[Line]":
        for number, outline in enumerate(decode(self._layer.outlines)):
            yield Line(self, number, outline)

    def raw(self, number: int) -> bytes:
        """Return a line; only forward."""
        return next(raw for at, raw in self._raw if at == number)


class Line:
    """One line of a segment, read when it is asked for."""

    __slots__ = ("_directory", "_number", "_raw", "_reading", "outline")

    def __init__(self, reading: _Reading, number: int, outline: Outline) -> None:
        self.outline = outline
        self._reading = reading
        self._number = number
        self._raw: bytes | None = None
        self._directory: Directory | None = None

    @property
    def order(self) -> tuple[int, tuple[bytes, ...], int]:
        return self.outline.order

    @property
    def raw(self) -> bytes:
        """The line as it is stored."""
        if self._raw is None:
            self._raw = self._reading.raw(self._number)
        return self._raw

    def read(self) -> Directory:
        if self._directory is None:
            self._directory = directory_of(self.raw)
        return self._directory
