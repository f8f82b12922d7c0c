"""Files that a restore put on this node's scratch, with where their bytes are: kept until a head holds them.

A pass that meets one as it was restored has nothing to send: it names the old object, whichever node wrote it. All of
this can be lost or damaged and is then not believed. Blocking.
"""

import json
import os
import stat
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Final

from agent.checkpoint.compare import Change, Fresh
from agent.checkpoint.format import FormatInvalid
from agent.checkpoint.merge import merge
from agent.checkpoint.outline import pass_of
from agent.checkpoint.segment import decode, encode
from agent.errors import PermanentError
from agent.model.checkpoint import Directory, Entry
from agent.scratch.found import row_of, row_of_entry
from agent.value import value

PREFIX: Final = "adopted-"
MOST: Final = 32
"""Restores that are remembered; of more the oldest are forgotten, and their files sent again."""
_READ: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_OTHERS: Final = 0o022


@value
class Adopted:
    """The rows of some restores, oldest first, as segments; `names` are their files."""

    names: Sequence[str] = ()
    bodies: Sequence[bytes] = ()

    def matched(self, changes: Iterable[Change], *, since: str) -> Iterator[Change]:
        """Yield the changes; with what is new and as it was restored stands its row. `since` as for a Comparison."""
        rows = _standing(self.bodies)
        at = next(rows, None)
        for change in changes:
            for number, fresh in enumerate(change.fresh):
                order = (change.home.order[:2], fresh.name)
                while at is not None and at[:2] < order:
                    at = next(rows, None)
                if at is not None and at[:2] == order and _is_of(at[2], fresh, since):
                    change.fresh[number] = replace(fresh, stored=at[2])
            yield change


class Adoption:
    """Where they are kept: `directory` is root's, `place` names bucket and prefix."""

    def __init__(self, directory: Path, *, place: str) -> None:
        self._directory = directory
        self._place = place

    def keep(self, name: str, roots: Sequence[bytes], rows: Iterable[Directory]) -> bool:
        """Keep the rows of one restore, all at once or not at all; `name` sorts by time. False when it can't be done.

        `roots` are the complete paths of the scratch that `rows` are below.
        """
        path = self._directory / f"{PREFIX}{name}"
        temporary = path.with_name(f"{path.name}.new")
        try:
            body = encode(rows)
            first = {"place": self._place, "roots": list(map(os.fsdecode, roots)), "sha256": sha256(body).hexdigest()}
            self._directory.mkdir(mode=0o700, exist_ok=True)
            temporary.write_bytes(json.dumps(first).encode("ascii") + b"\n" + body)
            temporary.replace(path)
            self.forget(self._names()[:-MOST])
        except (OSError, ValueError, PermanentError):
            with suppress(OSError):
                temporary.unlink(missing_ok=True)
            return False
        return True

    def read(self, roots: Sequence[bytes]) -> Adopted:
        """Return what restores have put below `roots`."""
        try:
            found = {name: body for name in self._names() if (body := self._body(name, roots)) is not None}
        except OSError:
            return Adopted()
        return Adopted(names=tuple(found), bodies=tuple(found.values()))

    def forget(self, names: Collection[str]) -> None:
        """A head holds what they say."""
        for name in names:
            with suppress(OSError):
                (self._directory / name).unlink(missing_ok=True)

    def _names(self) -> list[str]:
        return sorted(
            path.name for path in self._directory.iterdir() if path.name.startswith(PREFIX) and path.suffix != ".new"
        )

    def _body(self, name: str, roots: Sequence[bytes]) -> bytes | None:
        """Return the segment in a file; None for one that is another's, of other roots, or damaged."""
        try:
            first, _, body = _read(self._directory / name).partition(b"\n")
            said = json.loads(first)
            is_whole = said["sha256"] == sha256(body).hexdigest()
            is_ours = said["place"] == self._place and tuple(map(os.fsencode, said["roots"])) == tuple(roots)
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return body if is_whole and is_ours else None


def _read(path: Path) -> bytes:
    """Return what is in a file that only root, or who we are, can have written. Raises OSError."""
    with os.fdopen(os.open(path, _READ), "rb") as file:
        found = os.fstat(file.fileno())
        if not stat.S_ISREG(found.st_mode) or found.st_uid not in {0, os.geteuid()} or found.st_mode & _OTHERS:
            raise PermissionError(str(path))
        return file.read()


_Row = tuple[tuple[int, tuple[bytes, ...]], bytes, Entry]


def _standing(bodies: Sequence[bytes]) -> Iterator[_Row]:
    """Yield place, name and row of each file, in their order; nothing more when a segment turns out to be none."""
    with suppress(FormatInvalid):
        for line in merge([decode(body) for body in bodies]):
            for entry in line.entries:
                yield line.order[:2], entry.name, entry


def _is_of(entry: Entry, fresh: Fresh, since: str) -> bool:
    is_young = entry.ref is None or pass_of(entry.ref.key) >= since
    return is_young and row_of_entry(entry) == row_of(fresh.stat)
