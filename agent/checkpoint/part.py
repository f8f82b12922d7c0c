"""A part of a tree's files to be looked at: those that go first, by the operator's patterns, or all others.

Which of the two looks meets a file is said by its path alone: none is met twice, and none by neither.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from agent.checkpoint.base import Line
from agent.checkpoint.compare import Change
from agent.checkpoint.merge import Folder
from agent.scratch.patterns import Ranks
from agent.scratch.walk import Problem, join

Report = Callable[[Problem], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """`is_first`: regular files that a pattern matches; else everything but them: all there is without patterns."""

    ranks: Ranks
    is_first: bool = False

    def holds(self, path: bytes) -> bool:
        """Return whether the file at `path`, relative to its root, belongs to it."""
        return (self.ranks.of(path) < self.ranks.last) is self.is_first

    def reach(self, directory: bytes) -> bool:
        """Return whether what belongs to it may be in a directory, or below it."""
        return not self.is_first or self.ranks.reach(directory)

    def folders(self, base: Iterable[Folder[Line]]) -> Iterator[Folder[Line]]:
        """Yield those directories of a base that it has to be compared with."""
        return (folder for folder in base if self.reach(b"/".join(folder.place[1])))

    def changes(self, changes: Iterable[Change]) -> Iterator[Change]:
        """Yield what belongs to it of each change; what is gone, and the directories, are never first."""
        for change in changes:
            if self.ranks.last:
                change.fresh = [
                    fresh
                    for fresh in change.fresh
                    if (self.holds(join(change.home.path, fresh.name)) if fresh.is_file else not self.is_first)
                ]
            if not self.is_first:
                yield change
            elif change.fresh:
                yield Change(home=change.home, is_known=change.is_known, is_first=False, fresh=change.fresh)

    def problems(self, root: bytes, report: Report) -> Report:
        """Return what passes on the problems of its files below `root`, a complete path."""

        def told(problem: Problem) -> None:
            if self.holds(problem.path[len(root) :].lstrip(b"/")):
                report(problem)

        return told


WHOLE: Final = Part(ranks=Ranks(()))
