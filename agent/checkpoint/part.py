"""A part of a tree's files to be looked at: those that go first, by the operator's patterns, or all others.

Which of the two looks meets a file is said by its path alone: none is met twice, and none by neither.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import field, replace
from typing import Final, Self

from agent.checkpoint.base import Line
from agent.checkpoint.compare import Change
from agent.checkpoint.merge import Folder
from agent.model.checkpoint import Directory
from agent.scratch.patterns import Ranks
from agent.scratch.walk import Problem, join
from agent.value import value

Report = Callable[[Problem], None]


@value
class Part:
    """`is_first`: regular files that a pattern matches; else everything but them: all there is without patterns.

    `hidden` are directories in whose place the base has something else, which the first look says is gone: said again
    in a later segment, it would hide what that look has stored below.
    """

    ranks: Ranks
    is_first: bool = False
    hidden: set[tuple[int, bytes]] = field(default_factory=set)

    def rest(self) -> Self:
        """Return what is left to be looked at after this."""
        return replace(self, is_first=False)

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
        """Yield what belongs to it of each change; what is gone, and the directories, are never first.

        But for what has to be gone before anything is stored below a directory that stands there now.
        """
        for change in changes:
            if not self.ranks.last:
                yield change
            elif self.is_first:
                yield from self._first(change)
            else:
                yield self._other(change)

    def _first(self, change: Change) -> Iterator[Change]:
        home = change.home
        if change.replaces:
            self.hidden.add((home.root, home.path))
            above, _, name = home.path.rpartition(b"/")
            yield Change(home=Directory(root=home.root, path=above), is_met=False, is_first=False, gone=[name])
        fresh = [each for each in change.fresh if each.is_file and self.holds(join(home.path, each.name))]
        if fresh:
            yield Change(home=home, is_known=change.is_known, is_first=False, fresh=fresh)

    def _other(self, change: Change) -> Change:
        home = change.home
        change.gone = [name for name in change.gone if (home.root, join(home.path, name)) not in self.hidden]
        held = {each.name for each in change.fresh if not each.is_file or self.holds(join(home.path, each.name))}
        for each in change.fresh:
            if each.fate is not None and each.name not in held:
                each.fate.is_stored = True  # by the first look, which says that what was below is gone
        change.fresh = [each for each in change.fresh if each.name in held]
        return change

    def problems(self, root: bytes, report: Report) -> Report:
        """Return what passes on the problems of its files below `root`, a complete path."""

        def told(problem: Problem) -> None:
            if self.holds(problem.path[len(root) :].lstrip(b"/")):
                report(problem)

        return told


WHOLE: Final = Part(ranks=Ranks(()))
