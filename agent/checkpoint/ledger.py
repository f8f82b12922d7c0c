"""What a copy has seen, what of it is stored, and what is stored but in no segment yet.

Pure bookkeeping in memory: it holds what is under way and what is new since the last segment, not the whole tree.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain, islice

from agent.checkpoint.segment import split
from agent.model.checkpoint import Directory, Entry, EntryType, Left, Totals
from agent.scratch.walk import Problem, join

PATHS = 1000
PATH_CHARACTERS = 100_000
"""Of all of them: a head is a small document, whatever job users call their files."""
TROUBLES = 20


@dataclass(slots=True, eq=False, kw_only=True)
class Job:
    """A regular file to be stored: `entry` as the walk saw it, `home` its directory (without entries)."""

    home: Directory
    entry: Entry
    attempt: int = 0
    alone: bool = False
    """Not for a pack, however small."""

    @property
    def path(self) -> bytes:
        """Relative to the root."""
        return join(self.home.path, self.entry.name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What a head says about the copy as a whole."""

    totals: Totals
    left: Left
    complete: bool


@dataclass(slots=True, kw_only=True)
class Line:
    """What is new of one directory."""

    home: Directory
    entries: list[Entry]
    gone: list[bytes]


class Ledger:
    def __init__(self, roots: Sequence[bytes]) -> None:
        self._roots = tuple(roots)
        self._under_way: dict[Job, None] = {}
        self._lost: list[Problem] = []
        self._lost_bytes = 0
        self._troubles: list[str] = []
        self._lines: dict[tuple[int, bytes], Line] = {}
        self._files = self._bytes = self._directories = self._symlinks = self._skipped = self._torn = 0
        self.walked = False
        """The walk came to its end."""
        self.files_total = 0
        self.bytes_total = 0
        self.bytes_done = 0
        """Sizes of the files stored, as the walk saw them."""

    @property
    def files_done(self) -> int:
        return self._files

    @property
    def has_news(self) -> bool:
        """Something is stored that no segment holds."""
        return bool(self._lines)

    @property
    def is_settled(self) -> bool:
        """The walk came to its end and nothing is under way any more."""
        return self.walked and not self._under_way

    @property
    def troubles(self) -> tuple[str, ...]:
        more = len(self._troubles) - TROUBLES
        return (*self._troubles[:TROUBLES], *([f"and {more} more like these"] if more > 0 else []))

    def path_of(self, job: Job) -> bytes:
        """Return the complete path of a file."""
        return join(self._roots[job.home.root], job.path)

    def meet(self, directory: Directory) -> list[Job]:
        """Take in what the walk found; return the files that have to be stored."""
        home = replace(directory, run=0, entries=()) if directory.entries or directory.run else directory
        line = self._line(home)
        self._directories += not directory.run
        jobs = []
        for entry in directory.entries:
            if entry.type is EntryType.FILE:
                jobs.append(Job(home=home, entry=entry))
                continue
            line.entries.append(entry)
            self._symlinks += entry.type is EntryType.SYMLINK
            self._skipped += entry.type.is_skipped
        self._under_way.update(dict.fromkeys(jobs))
        self.files_total += len(jobs)
        self.bytes_total += sum(job.entry.stat.size for job in jobs)
        return jobs

    def settle(self, job: Job, entry: Entry, *, shared: bool = False) -> None:
        """Note that a file is stored as `entry`; `shared`: its bytes are those of a hard link that is counted."""
        del self._under_way[job]
        self._line(job.home).entries.append(entry)
        self._files += 1
        self._torn += entry.torn
        self._bytes += entry.ref.length if entry.ref and not shared else 0
        self.bytes_done += job.entry.stat.size

    def drop(self, job: Job) -> None:
        """Note that a file vanished before it was read."""
        del self._under_way[job]
        self.files_total -= 1
        self.bytes_total -= job.entry.stat.size

    def lose(self, job: Job, detail: str) -> None:
        """Note that a file can't be read."""
        del self._under_way[job]
        self.add_problem(Problem(path=self.path_of(job), detail=detail, size=job.entry.stat.size))

    def add_problem(self, problem: Problem) -> None:
        """Note something that is on the disk and can't be saved."""
        self._lost.append(problem)
        self._lost_bytes += problem.size
        self.add_trouble(f"read {text_of(problem.path)}: {problem.detail}")

    def add_trouble(self, sentence: str) -> None:
        self._troubles.append(sentence)

    def hide(self, directory: Directory) -> None:
        """Note that older segments may hold something else under the name of this directory."""
        parent, _, name = directory.path.rpartition(b"/")
        self._line(Directory(root=directory.root, path=parent)).gone.append(name)

    def standing(self) -> Standing:
        totals = Totals(
            files=self._files,
            bytes=self._bytes,
            directories=self._directories,
            symlinks=self._symlinks,
            skipped=self._skipped,
            torn=self._torn,
        )
        left = self._left()
        return Standing(totals=totals, left=left, complete=self.walked and not left.files and not self._torn)

    def take(self) -> list[Line]:
        """Return what is new, and forget it here."""
        taken, self._lines = self._lines, {}
        return list(taken.values())

    def give_back(self, lines: Iterable[Line]) -> None:
        """Have again what was taken: it did not get into a segment."""
        for line in lines:
            ours = self._line(line.home)
            ours.entries = line.entries + ours.entries
            ours.gone = line.gone + ours.gone

    def _line(self, home: Directory) -> Line:
        line = self._lines.get((home.root, home.path))
        if line is None:
            line = self._lines[home.root, home.path] = Line(home=home, entries=[], gone=[])
        elif line.home.stat is None:
            line.home = home
        return line

    def _left(self) -> Left:
        paths = chain((problem.path for problem in self._lost), map(self.path_of, self._under_way))
        return Left(
            files=len(self._lost) + len(self._under_way),
            bytes=self._lost_bytes + sum(job.entry.stat.size for job in self._under_way),
            paths=tuple(_first(map(text_of, paths))),
        )


def directories_of(lines: Iterable[Line], *, over_older: bool) -> Iterator[Directory]:
    """Yield the lines of a segment.

    `over_older`: it is read on top of older segments, in which its names may be directories.
    """
    for line in sorted(lines, key=lambda line: line.home.order):
        entries = tuple(sorted(line.entries, key=lambda entry: entry.name))
        gone = {entry.name for entry in entries}.union(line.gone) if over_older else set()
        yield from split(replace(line.home, run=0, entries=entries, gone=tuple(sorted(gone))))


def _first(paths: Iterable[str]) -> Iterator[str]:
    room = PATH_CHARACTERS
    for path in islice(paths, PATHS):
        room -= len(path)
        if room < 0:
            return
        yield path


def text_of(path: bytes) -> str:
    """Return a path as people read it: what is not UTF-8 is escaped."""
    return path.decode("utf-8", "backslashreplace")
