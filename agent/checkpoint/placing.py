"""The second half of a restore: bytes become files in their places. Blocking, called from several threads."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from errno import EDQUOT, ENOSPC, EROFS
from typing import Final

from agent.checkpoint import newfile
from agent.checkpoint.leftover import Working, is_untouched, is_written
from agent.checkpoint.target import Target
from agent.checkpoint.unfolding import Problem
from agent.checkpoint.units import Folder, Link, Member, Range, Source
from agent.checkpoint.written import Written
from agent.checksum import crc64nvme, to_hex
from agent.errors import PermanentError
from agent.model.checkpoint import EntryType
from agent.value import value

_ENDS_IT_ALL: Final = frozenset({ENOSPC, EDQUOT, EROFS})


class NoRoom(PermanentError):
    """The disk to restore to takes no more."""


@value
class Placed:
    """What became of a member: in its place unless `failed`."""

    member: Member
    failed: bool
    problems: tuple[Problem, ...] = ()


class Placing:
    """How files get into `target`, under names of `working` until they are whole.

    `only_made`: directories that were there before keep the attributes they have. `keep`: what was begun of large files
    stays when the restore is cut, for the next one to go on with. `written` is told of each file.
    """

    def __init__(
        self,
        target: Target,
        *,
        working: Working,
        owner: bool,
        overwrite: bool,
        only_made: bool = False,
        keep: bool = False,
        written: Written | None = None,
    ) -> None:
        self._target = target
        self._working = working
        self._owner = owner
        self._overwrite = overwrite
        self._only_made = only_made
        self._keep = keep
        self._written = written
        self._begun: set[Begun] = set()

    def close(self) -> None:
        """Let go of what a restore that was cut had begun."""
        for begun in tuple(self._begun):
            if self._keep and not is_untouched(begun.fd):
                self._close(begun)
            else:
                self.drop(begun)

    def begin(self, member: Member) -> "Begun":
        """Make room for a large file, or go on with what a run that was cut left of it. Raises OSError, NoRoom."""
        place, entry, working = member.folder.place, member.entry, self._working.name_of(member.entry)
        with self._target.folder(place) as folder, _room(member):
            left = self._target.leftovers.take(place, folder, entry, working)
            fd = newfile.begin(folder, working, entry, preallocate=True) if left is None else left
        begun = Begun(member=member, working=working, fd=fd, is_left=left is not None)
        self._begun.add(begun)
        return begun

    def there(self, begun: "Begun", part: Range) -> int | None:
        """Return the CRC of a range that was written before the cut; None where it has to come. Raises OSError."""
        if not begun.is_left or not all(is_written(begun.fd, *span) for span in part.spans):
            return None
        return newfile.crc(begun.fd, part.spans)

    def part(self, begun: "Begun", part: Range) -> "Filling":
        """Return what takes the bytes of one range of a large file."""
        return Filling(begun, part)

    def end(self, begun: "Begun") -> Placed:
        """Put a large file, which is whole, in its place."""
        member = begun.member
        try:
            with self._target.folder(member.folder.place) as folder:
                return self._finish(member, begun.fd, folder, begun.working)
        except OSError as error:
            return failure(member, error)

    def drop(self, begun: "Begun") -> None:
        """Let go of a large file; what is not in its place by now is removed."""
        self._close(begun)
        with suppress(OSError), self._target.folder(begun.member.folder.place) as folder:
            newfile.discard(folder, begun.working)

    def _close(self, begun: "Begun") -> None:
        self._begun.discard(begun)
        os.close(begun.fd)

    def link(self, link: Link) -> Placed | None:
        """Give a restored file another name; None when there is nothing to link to, or no way."""
        source, member = link.group.source, link.member
        if source is None:
            return None
        working = self._working.name()
        with (
            suppress(OSError),
            self._target.folder(source.place) as there,
            self._target.folder(member.folder.place) as folder,
        ):
            try:
                found = newfile.link(there, source.name, folder, working)
                if (found.st_dev, found.st_ino) == (source.device, source.inode):
                    newfile.publish(folder, working, member.entry.name, overwrite=self._overwrite)
                    self._note_another_name(folder, member)
                    return Placed(member=member, failed=False)
            finally:
                newfile.discard(folder, working)
        return None

    def _note_another_name(self, folder: int, member: Member) -> None:
        if self._written is not None:
            with suppress(OSError):
                self._written.another_name(os.stat(member.entry.name, dir_fd=folder, follow_symlinks=False))

    def leave(self, folders: Sequence[Folder]) -> list[Problem]:
        """Give directories that are complete their attributes; return what could not be."""
        return [problem for folder in folders for problem in self._leave(folder)]

    def _leave(self, folder: Folder) -> Iterator[Problem]:
        place = folder.place
        try:
            self._target.tidy(place)
            if folder.stat is None or (self._only_made and not folder.made):
                return
            trouble = self._target.finish(place, folder.stat, folder.xattrs, owner=self._owner)
        except OSError as error:
            trouble = [error.strerror or repr(error)]
        yield from (Problem(root=place.root, path=place.path, detail=detail) for detail in trouble)

    def small(self, member: Member, data: memoryview) -> Placed:
        """Put something small, whose bytes are `data`, in its place. Raises NoRoom."""
        entry = member.entry
        if entry.ref is not None and (crc := crc64nvme(data)) != entry.ref.crc64nvme:
            return compared(member, crc)
        try:
            with self._target.folder(member.folder.place) as folder:
                if entry.type is EntryType.SYMLINK:
                    return self._symlink(member, folder)
                return self._file(member, folder, data)
        except OSError as error:
            _check_room(member, error)
            return failure(member, error)

    def _symlink(self, member: Member, folder: int) -> Placed:
        working = self._working.name()
        try:
            trouble = newfile.make_link(folder, working, member.entry, owner=self._owner, overwrite=self._overwrite)
        except OSError:
            newfile.discard(folder, working)
            raise
        if member.group is not None:
            found = os.stat(member.entry.name, dir_fd=folder, follow_symlinks=False)
            member.group.source = _source(member, found)
        return _placed(member, trouble)

    def _file(self, member: Member, folder: int, data: memoryview) -> Placed:
        working = self._working.name()
        fd = newfile.begin(folder, working, member.entry, preallocate=False)
        try:
            newfile.write(fd, data, member.entry.extents or ((0, len(data)),))
            return self._finish(member, fd, folder, working)
        except OSError:
            newfile.discard(folder, working)
            raise
        finally:
            os.close(fd)

    def _finish(self, member: Member, fd: int, folder: int, working: bytes) -> Placed:
        trouble = newfile.finish(fd, folder, working, member.entry, owner=self._owner, overwrite=self._overwrite)
        if member.group is not None:
            member.group.source = _source(member, os.fstat(fd))
        if self._written is not None and not trouble:
            self._written.file(os.fstat(fd))
        return _placed(member, trouble)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Begun:
    """A large file on its way: open under its working name. `is_left`: a run that was cut had begun it."""

    member: Member
    working: bytes
    fd: int
    is_left: bool = False


class Filling:
    """Takes the bytes of a range of a large file, piece by piece, and writes them where they belong."""

    def __init__(self, begun: Begun, part: Range) -> None:
        self._begun = begun
        self._spans = list(reversed(part.spans))
        self.crc = 0
        """Of what was taken so far."""

    def take(self, piece: memoryview) -> None:
        """Write some more. Raises OSError, NoRoom."""
        with _room(self._begun.member):
            newfile.write(self._begun.fd, piece, self._next(piece.nbytes))
        self.crc = crc64nvme(piece, self.crc)

    def _next(self, size: int) -> Iterator[tuple[int, int]]:
        """Yield where the next `size` bytes belong."""
        while size:
            offset, length = self._spans.pop()
            if length > size:
                self._spans.append((offset + size, length - size))
                length = size
            yield offset, length
            size -= length


def _source(member: Member, found: os.stat_result) -> Source:
    """Return a member that is in its place, for other names of it to be linked to."""
    return Source(place=member.folder.place, name=member.entry.name, device=found.st_dev, inode=found.st_ino)


def _placed(member: Member, trouble: Sequence[str]) -> Placed:
    return Placed(member=member, failed=False, problems=tuple([_problem(member, detail) for detail in trouble]))


def failure(member: Member, error: OSError) -> Placed:
    """Return that a member is not in its place because of `error`."""
    return Placed(member=member, failed=True, problems=(_problem(member, error.strerror or repr(error)),))


def compared(member: Member, crc: int) -> Placed:
    """Return whether a member may be put in its place: `failed` when its bytes have another CRC than was recorded."""
    recorded = member.entry.ref.crc64nvme if member.entry.ref is not None else crc
    if crc == recorded:
        return Placed(member=member, failed=False)
    return damaged(member, f"its CRC-64/NVME is {to_hex(crc)}, recorded is {to_hex(recorded)}")


def damaged(member: Member, detail: str) -> Placed:
    """Return that a member is not in its place because of what the store has of it."""
    assert member.entry.ref is not None
    problem = _problem(member, detail)
    return Placed(member=member, failed=True, problems=(replace(problem, key=member.entry.ref.key, damaged=True),))


def _problem(member: Member, detail: str) -> Problem:
    return Problem.at(member.folder.place, member.entry.name, detail)


@contextmanager
def _room(member: Member) -> Iterator[None]:
    """Turn a disk that takes no more into an error that ends the restore."""
    try:
        yield
    except OSError as error:
        _check_room(member, error)
        raise


def _check_room(member: Member, error: OSError) -> None:
    """Raise NoRoom for what no other file would fare better with."""
    if error.errno in _ENDS_IT_ALL:
        hint = "what was restored stays: make room and run it again"
        name = repr(member.entry.name)[2:-1]
        raise NoRoom("restore", name, error.strerror or repr(error), hint=hint) from error
