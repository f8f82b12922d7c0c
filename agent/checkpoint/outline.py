"""What there is to know of a segment without reading it: a fingerprint of each line, by which most are passed over.

It stands beside a segment on the node's own disk, never in the store: 20 ms for a hundred thousand directories, where
reading the rows of a million files takes four seconds (measured).
"""

import json
import os
from collections.abc import Iterable, Iterator
from hashlib import sha256
from io import BytesIO
from typing import NamedTuple

from agent.checkpoint.merge import Place
from agent.model.checkpoint import Directory, EntryType
from agent.scratch.found import fingerprint, row_of_entry
from agent.scratch.looks import compared

_START = 65
"""A SHA-256 in hex and the end of its line."""
_KIND = b"2"
"""Of fingerprints: goes into the checksum, so that those of another version are made anew."""


class Outline(NamedTuple):
    """Of one line: where it belongs, and what a look at the disk is compared with.

    `fingerprint` is empty where the rows have to be read: something is torn, unsettled or gone. `oldest` is the id of
    the oldest pass that an object of it comes from. `entries` counts names, `files` regular files, `size` their bytes.
    """

    root: int
    path: bytes
    run: int
    fingerprint: bytes
    oldest: str
    entries: int
    files: int
    size: int

    @property
    def order(self) -> tuple[int, tuple[bytes, ...], int]:
        return (self.root, tuple(self.path.split(b"/")) if self.path else (), self.run)

    @property
    def place(self) -> Place:
        return self.order[:2]


def outline_of(directory: Directory) -> Outline:
    entries = directory.entries
    plain = not directory.gone and not any(entry.torn or entry.unsettled for entry in entries)
    rows = compared(list(map(row_of_entry, entries)))
    sizes = [entry.stat.size for entry in entries if entry.type is EntryType.FILE]
    return Outline(
        root=directory.root,
        path=directory.path,
        run=directory.run,
        fingerprint=fingerprint(directory.stat, [entry.name for entry in entries], rows) if plain else b"",
        oldest=min((pass_of(entry.ref.key) for entry in entries if entry.ref), default=""),
        entries=len(entries),
        files=len(sizes),
        size=sum(sizes),
    )


def pass_of(key: str) -> str:
    """Return the id of the pass that made an object, which begins with the time."""
    return key.split("/")[2]


def encode(outlines: Iterable[Outline]) -> bytes:
    """Return the outlines of a segment as they are kept, with a checksum of their own."""
    lines = b"".join(_line(outline) for outline in outlines)
    return _checksum(lines) + b"\n" + lines


def is_whole(blob: bytes) -> bool:
    """Return whether it is what `encode` returned."""
    return _checksum(memoryview(blob)[_START:]) == blob[: _START - 1]


def _checksum(lines: bytes | memoryview) -> bytes:
    found = sha256(_KIND)
    found.update(lines)
    return found.hexdigest().encode()


def decode(blob: bytes) -> Iterator[Outline]:
    """Yield what `encode` was given."""
    lines = BytesIO(blob)
    lines.seek(_START)
    return map(_outline, lines)


def _line(outline: Outline) -> bytes:
    root, path, run, found, *others = outline
    return json.dumps([root, os.fsdecode(path), run, found.hex(), *others], separators=(",", ":")).encode() + b"\n"


def _outline(line: bytes) -> Outline:
    root, path, run, found, *others = json.loads(line)
    return Outline(root, os.fsencode(path), run, bytes.fromhex(found), *others)
