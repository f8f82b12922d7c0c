"""What a copy has seen, what of it is stored, and what is stored but in no segment yet.

Pure bookkeeping in memory: it holds what is under way and what is new since the last segment, not the whole tree.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain, islice

from agent.checkpoint.compare import Change, Fate
from agent.checkpoint.counts import Counts
from agent.checkpoint.segment import split
from agent.model.checkpoint import Directory, Entry, EntryType, Left, Stat, Totals
from agent.scratch.walk import Problem, join
from agent.value import value

MANY = 32_768
"""Names that are new since the last segment, some 700 bytes each: a commit does not wait for its time then."""
PATHS = 1000
PATH_CHARACTERS = 100_000
"""Of all of them: a head is a small document, whatever job users call their files."""
TROUBLES = 20


@dataclass(slots=True, eq=False, kw_only=True)
class Job:
    """A regular file to be stored: `entry` as the walk saw it, `home` its directory (without entries)."""

    home: Directory
    entry: Entry
    before: Entry | None = None
    """The row of its name in the last head."""
    fate: Fate | None = None
    """Of a name that is new in a directory of the last head."""
    old: bool = False
    """What the last head refers to is older than a head may refer to: it has to be stored again."""
    same: bool = False
    """As far as its times tell it is as the last head has it."""
    stored: Entry | None = None
    """Its row in a restore that put it there, since when it did not change."""
    rank: int = 0
    """Of two files the one with the lower rank goes first."""
    attempt: int = 0
    alone: bool = False
    """Not for a pack, however small."""

    @property
    def usable(self) -> Entry | None:
        """The row of the last head whose bytes may be referred to, as far as they are still those of the file."""
        return None if self.before is None or self.before.torn or self.old else self.before

    @property
    def path(self) -> bytes:
        """Relative to the root."""
        return join(self.home.path, self.entry.name)

    def is_as_met(self, stat: Stat) -> bool:
        """Return whether the file is what the walk met. Else it may have got another name, which only a walk sees."""
        met = self.entry.stat
        return (stat.inode, stat.ctime_ns) == (met.inode, met.ctime_ns)


@value
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
    is_new: bool = False
    """No segment has its directory."""

    @property
    def says_much(self) -> bool:
        """It says more than what its directory is."""
        return bool(self.entries or self.gone)


class Ledger:
    def __init__(self, roots: Sequence[bytes]) -> None:
        self._roots = tuple(roots)
        self._under_way: dict[Job, None] = {}
        self._left_paths: list[bytes] = []
        self._left_files = self._left_bytes = 0
        self._troubles: list[str] = []
        self._more_troubles = 0
        self._lines: dict[tuple[int, bytes], Line] = {}
        self._counts = Counts()
        self._new = 0
        self.walked = False
        """The walk came to its end."""
        self._files_seen = 0
        self.files_total = 0
        self.bytes_total = 0
        self.files_done = 0
        self.bytes_done = 0
        """Of what is to be stored: sizes of the files that are, as the walk saw them."""

    def build_on(self, totals: Totals) -> None:
        """Begin with what a head holds."""
        self._counts = Counts(totals)

    @property
    def has_news(self) -> bool:
        """Something is stored that no segment holds."""
        return bool(self._ready())

    @property
    def is_full(self) -> bool:
        """So much of it that it has to go into one."""
        return self._new >= MANY

    @property
    def is_settled(self) -> bool:
        """The walk came to its end and nothing is under way any more."""
        return self.walked and not self._under_way

    @property
    def troubles(self) -> tuple[str, ...]:
        more = self._more_troubles
        return (*self._troubles, *([f"and {more} more like these"] if more else []))

    def path_of(self, job: Job) -> bytes:
        """Return the complete path of a file."""
        return join(self._roots[job.home.root], job.path)

    def meet(self, change: Change) -> list[Job]:
        """Take in what differs in a directory; return the files that have to be stored."""
        home = change.home if change.home.stat is None else replace(change.home, stat=None, xattrs={})
        is_new = change.is_first and not change.is_known
        self._counts.directories += int(is_new) - change.lost_directories
        is_hidden = change.instead is not None and change.instead.is_stored
        gone = [] if is_hidden else change.gone
        if change.home.stat is not None or gone:
            line = self._line(change.home)
            line.gone += gone
            line.is_new = line.is_new or is_new
        for entry in change.lost:
            self._counts.take(entry)
        jobs = []
        for entry, fresh in change.entries:
            if entry.type is EntryType.FILE:
                jobs.append(
                    Job(
                        home=home,
                        entry=entry,
                        before=fresh.before,
                        old=fresh.old,
                        same=fresh.same,
                        stored=fresh.stored,
                        fate=fresh.fate,
                    )
                )
            else:
                self._put(home, entry, fresh.before, fresh.fate)
        self._under_way.update(dict.fromkeys(jobs))
        self._files_seen += change.files + len(jobs)
        self.files_total += len(jobs)
        self.bytes_total += sum(job.entry.stat.size for job in jobs)
        return jobs

    def settle(self, job: Job, entry: Entry, *, shared: bool = False) -> None:
        """Note that a file is stored as `entry`; `shared`: its bytes are those of a hard link that is counted."""
        del self._under_way[job]
        self._put(job.home, entry, job.before, job.fate, shared=shared)
        self.files_done += 1
        self.bytes_done += job.entry.stat.size

    def drop(self, job: Job) -> None:
        """Note that a file vanished before it was read."""
        self._forget(job)
        if job.before is not None:
            self._counts.take(job.before)
            self._line(job.home).gone.append(job.entry.name)

    def leave(self, job: Job) -> None:
        """Note that a file is not to be stored by this pass: an older row of it stands."""
        self._forget(job)
        self._stand(job)
        if job.old and job.same:  # it will do for as long as a head lives
            return
        self._left_files += 1
        self._left_bytes += job.entry.stat.size
        if len(self._left_paths) < PATHS:
            self._left_paths.append(self.path_of(job))

    def lose(self, job: Job, detail: str) -> None:
        """Note that a file can't be read: an older row of it stands."""
        del self._under_way[job]
        self._stand(job)
        self.add_problem(Problem(path=self.path_of(job), detail=detail, size=job.entry.stat.size))

    def _stand(self, job: Job) -> None:
        if job.before is not None:
            self._counts.stand(job.before)

    def _forget(self, job: Job) -> None:
        del self._under_way[job]
        self.files_total -= 1
        self.bytes_total -= job.entry.stat.size

    def _put(
        self, home: Directory, entry: Entry, before: Entry | None, fate: Fate | None, *, shared: bool = False
    ) -> None:
        if entry == before:
            return
        line = self._line(home)
        line.entries.append(entry)
        self._new += 1
        if before is not None:
            self._counts.take(before)
        elif fate is not None:
            fate.is_stored = True
            line.gone.append(entry.name)
        self._counts.add(entry, shared=shared)

    def add_problem(self, problem: Problem) -> None:
        """Note something that is on the disk and can't be saved."""
        self._left_files += 1
        self._left_bytes += problem.size
        if len(self._left_paths) < PATHS:
            self._left_paths.append(problem.path)
        self.add_trouble(f"read {text_of(problem.path)}: {problem.detail}")

    def add_trouble(self, sentence: str) -> None:
        if len(self._troubles) < TROUBLES:
            self._troubles.append(sentence)
        else:
            self._more_troubles += 1

    def standing(self) -> Standing:
        """Return what a head says that is written once what `take` returned last is in a segment."""
        totals = self._counts.totals(walked=self.walked)
        waiting = sum(line.is_new for line in self._lines.values())
        totals = replace(totals, directories=max(0, totals.directories - waiting))
        left = self._left()
        return Standing(totals=totals, left=left, complete=self.walked and not left.files and not totals.torn)

    def take(self, *, on_the_way: bool = False) -> list[Line]:
        """Return what is new, and forget it here.

        `on_the_way`: not what there is to say of directories whose files are all under way, which goes with them. What
        stands in one segment is compared much faster than what stands in two.
        """
        taken = self._ready() if on_the_way else self._lines
        self._lines = {place: line for place, line in self._lines.items() if place not in taken}
        self._new = 0
        return list(taken.values())

    def _ready(self) -> dict[tuple[int, bytes], Line]:
        """Return what has to go into the next segment: nothing is in one before the directories above it."""
        busy = {(job.home.root, job.home.path) for job in self._under_way}
        ready = {place: line for place, line in self._lines.items() if line.says_much or place not in busy}
        for root, path in tuple(ready):
            above = path
            while above:
                above = above.rpartition(b"/")[0]
                if (root, above) not in ready and (root, above) in self._lines:
                    ready[root, above] = self._lines[root, above]
        return ready

    def give_back(self, lines: Iterable[Line]) -> None:
        """Have again what was taken: it did not get into a segment."""
        for line in lines:
            ours = self._line(line.home)
            ours.entries = line.entries + ours.entries
            ours.gone = line.gone + ours.gone
            ours.is_new = ours.is_new or line.is_new

    def _line(self, home: Directory) -> Line:
        line = self._lines.get((home.root, home.path))
        if line is None:
            line = self._lines[home.root, home.path] = Line(home=home, entries=[], gone=[])
        elif line.home.stat is None:
            line.home = home
        return line

    def _left(self) -> Left:
        paths = chain(self._left_paths, map(self.path_of, self._under_way))
        return Left(
            files=self._left_files + len(self._under_way),
            bytes=self._left_bytes + sum(job.entry.stat.size for job in self._under_way),
            paths=tuple(_first(map(text_of, paths))),
            seen=None if self.walked else self._files_seen,
        )


def directories_of(lines: Iterable[Line]) -> Iterator[Directory]:
    """Yield the lines of a segment. Of a name that was stored twice, as two things, the last counts."""
    for line in sorted(lines, key=lambda line: line.home.order):
        named = {entry.name: entry for entry in line.entries}
        entries = tuple(named[name] for name in sorted(named))
        yield from split(replace(line.home, run=0, entries=entries, gone=tuple(sorted(set(line.gone)))))


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
