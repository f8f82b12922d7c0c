"""What a restore has done so far: for who watches, and for the result."""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final

from agent.checkpoint.placing import Placed
from agent.checkpoint.unfolding import Chunk, Problem, is_made
from agent.model.checkpoint import Directory, Entry, EntryType, Head
from agent.model.progress import Progress
from agent.value import value

MOST_PROBLEMS: Final = 1000


@value
class Restored:
    """What a restore did.

    `files` and `bytes` are what was written, every name of a file counted as one; `not_made` are sockets, FIFOs and
    devices; `problems` the first thousand of `problem_count`.
    """

    files: int = 0
    bytes: int = 0
    directories: int = 0
    symlinks: int = 0
    skipped_existing: int = 0
    not_made: int = 0
    torn: int = 0
    problem_count: int = 0
    problems: tuple[Problem, ...] = ()


@dataclass(slots=True)
class Tally:
    """What has been done so far, for the report and the result."""

    head: Head
    report: Callable[[Progress], None]
    done: Counter[str] = field(default_factory=Counter)
    received: int = 0
    under_way: Counter[bytes] = field(default_factory=Counter)
    problems: list[Problem] = field(default_factory=list)
    damage: Problem | None = None

    def add(self, **counts: int) -> None:
        for name, more in counts.items():
            self.done[name] += more

    def entry(self, entry: Entry) -> None:
        """Count a name that is in its place now."""
        if entry.type is EntryType.SYMLINK:
            self.done["symlinks"] += 1
        else:
            self.done["files"] += 1
            self.done["torn"] += entry.torn

    def trouble(self, problems: Iterable[Problem]) -> None:
        for problem in problems:
            self.add(problem_count=1)
            if len(self.problems) < MOST_PROBLEMS:
                self.problems.append(problem)
            if problem.damaged and self.damage is None:
                self.damage = problem

    def placed(self, placed: Placed, *, is_link: bool) -> None:
        self.trouble(placed.problems)
        if not placed.failed:
            entry = placed.member.entry
            self.entry(entry)
            if entry.ref is not None and not is_link:
                self.done["bytes"] += entry.ref.length

    def chunk(self, chunk: Chunk) -> None:
        same = sum(1 for entry in chunk.same if entry.type is EntryType.FILE)
        self.add(directories=len(chunk.entered), skipped_existing=same, not_made=chunk.not_made)
        self.trouble(chunk.problems)
        self.tell()

    def tell(self) -> None:
        totals = self.head.totals
        self.report(
            Progress(
                files_total=totals.files,
                bytes_total=totals.bytes,
                files_done=self.done["files"] + self.done["skipped_existing"],
                bytes_done=self.done["bytes"] + sum(self.under_way.values()),
                bytes_sent=self.received,
                walked=True,
            )
        )

    def restored(self) -> Restored:
        return Restored(**self.done, problems=tuple(self.problems))

    def name(self, problem: Problem) -> str:
        root = self.head.roots[problem.root]
        return (root.rstrip(b"/") + b"/" + problem.path).decode("utf-8", "backslashreplace")

    def holdings(self, lines: Iterable[Directory]) -> None:
        """Count what a tree holds, for a restore that does nothing."""
        for line in lines:
            made = [entry for entry in line.entries if is_made(entry)]
            self.add(directories=int(line.run == 0), not_made=len(line.entries) - len(made))
            for entry in made:
                self.entry(entry)
                if entry.ref is not None:
                    self.done["bytes"] += entry.ref.length
