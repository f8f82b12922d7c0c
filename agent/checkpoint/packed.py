"""A segment before it is stored: its bytes, its checksums, its outline."""

from collections.abc import Iterable, Iterator
from hashlib import sha256

from agent.checkpoint import segment as segments
from agent.checkpoint.base import Base, Layer, Line
from agent.checkpoint.merge import Folder
from agent.checkpoint.outline import Outline, encode, outline_of
from agent.checksum import crc64nvme
from agent.model.checkpoint import Directory, SegmentRef
from agent.value import value


@value
class Packed:
    body: bytes
    crc64nvme: int
    sha256: str
    directories: int
    entries: int
    outlines: bytes

    @property
    def layer(self) -> Layer:
        return Layer(body=self.body, outlines=self.outlines)

    def ref(self, key: str) -> SegmentRef:
        return SegmentRef(
            key=key, size=len(self.body), sha256=self.sha256, directories=self.directories, entries=self.entries
        )


_Written = tuple[bytes, Outline, int]
"""A line, its outline, how many entries it has."""


def pack(directories: Iterable[Directory]) -> Packed:
    """Return the segment of `directories`. Blocking; raises ValueError as `segment.encode` does."""
    return _packed(map(_written, segments.in_order(directories)))


def compacted(base: Base) -> Packed:
    """Return one segment that holds what all of a base hold together. Blocking."""
    return _packed(line for folder in base.folders() for line in _lines(folder))


def _lines(folder: Folder[Line]) -> Iterator[_Written]:
    """Yield the lines of a directory: as they stand, where only one segment has it and nothing is gone.

    The rest may begin with a later run. What comes out of segments that were read is in order.
    """
    while (line := folder.line) is not None and line.outline.fingerprint:
        yield line.raw, line.outline, line.outline.entries
        folder.pass_over()
    yield from map(_written, folder.lines())


def _written(directory: Directory) -> _Written:
    return segments.line_of(directory), outline_of(directory), len(directory.entries)


def _packed(written: Iterable[_Written]) -> Packed:
    outlines: list[Outline] = []
    entries = 0

    def lines() -> Iterator[bytes]:
        nonlocal entries
        for line, outline, count in written:
            outlines.append(outline)
            entries += count
            yield line

    body = segments.encode_lines(lines())
    return Packed(
        body=body,
        crc64nvme=crc64nvme(body),
        sha256=sha256(body).hexdigest(),
        directories=sum(not outline.run for outline in outlines),
        entries=entries,
        outlines=encode(outlines),
    )
