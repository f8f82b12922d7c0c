"""A look at all roots side by side with what is stored of them: the half that a pass and a scan have in common."""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TypeVar

from agent.checkpoint.adopted import Adopted
from agent.checkpoint.base import Base
from agent.checkpoint.compare import Change, Comparison
from agent.checkpoint.part import WHOLE, Part
from agent.scratch.found import Found, entry_of
from agent.scratch.tree import RootMissing, Tree
from agent.scratch.walk import Problem, Walk, is_gone, join

SLICE = 2000
"""Names that differ, brought at once: with what is made of each, some 4 MB."""
SLICE_SECONDS = 0.05
"""Of the walk, at most: to bring what it found costs as much as a look at a hundred files."""

T = TypeVar("T")


@dataclass(slots=True, kw_only=True)
class Slice:
    """A part of what was found: what differs, what can't be looked at, and the CPU seconds that it took."""

    changes: list[Change] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    cpu_seconds: float = 0.0


class Survey:
    """The trees at `roots` as open directories. `exclude` as for a Walk, `only` too but with complete paths."""

    def __init__(
        self, roots: Sequence[Path], exclude: Sequence[str], executor: Executor, *, only: Sequence[str] | None = None
    ) -> None:
        self.roots = tuple(dict.fromkeys(os.path.abspath(os.fsencode(root)) for root in roots))  # noqa: PTH100 - bytes
        self._exclude = tuple(exclude)
        self._only = None if only is None else [os.fsencode(path) for path in only]
        self._executor = executor
        self._missing: dict[int, RootMissing] = {}
        self.trees: dict[int, Tree] = {}

    async def open(self) -> None:
        """Open the roots. Raises RootMissing when there is none of them; one that is missing is a problem later."""
        for number, root in enumerate(self.roots):
            try:
                self.trees[number] = await self._run(partial(Tree, Path(os.fsdecode(root))))
            except RootMissing as error:
                self._missing[number] = error
        if self._missing and not self.trees:
            raise next(iter(self._missing.values()))

    async def slices(
        self,
        base: Base | None,
        *,
        since: str = "",
        adopted: Adopted | None = None,
        entries: bool = True,
        part: Part = WHOLE,
    ) -> AsyncIterator[Slice]:
        """Yield what differs from `base`; without one everything does. `since` as for a Comparison.

        `adopted` is what restores have put there. `entries`: make entries of what is fresh, for which links are read.
        `part`: of which files.
        """
        problems: list[Problem] = []
        folders = part.folders(base.folders() if base else ())
        changes = Comparison(folders, since=since).changes(self._found(problems.append, part))
        if adopted is not None and adopted.bodies:
            changes = adopted.matched(changes, since=since)
        changes = part.changes(changes)
        if entries:
            changes = map(partial(self._with_entries, problems), changes)
        while True:
            found = await self._run(partial(self._slice, changes, problems))
            if not found.changes and not found.problems:
                return
            yield found

    def close(self) -> None:
        """Let go of the trees: threads may still read, descriptors are closed with the last reference."""
        self.trees.clear()

    def _found(self, report: Callable[[Problem], None], part: Part) -> Iterator[Found]:
        for number, root in enumerate(self.roots):
            missing, told = self._missing.get(number), part.problems(root, report)
            if missing is None:
                only = None if self._only is None else list(_below(root, self._only))
                walk = Walk(
                    self.trees[number], root=number, exclude=self._exclude, only=only, reach=part.reach, report=told
                )
                yield from walk
            else:
                told(Problem(path=root, detail=missing.detail))
                yield Found(root=number, path=b"", is_closed=True)

    def _with_entries(self, problems: list[Problem], change: Change) -> Change:
        for fresh in change.fresh:
            home = change.home
            try:
                entry = entry_of(self.trees[home.root], home.path, fresh.name, fresh.stat)
            except OSError as error:
                if not is_gone(error):
                    path = join(join(self.roots[home.root], home.path), fresh.name)
                    problems.append(Problem(path=path, detail=error.strerror or repr(error)))
                continue
            if entry is not None:
                change.entries.append((entry, fresh))
        return change

    def _slice(self, changes: Iterator[Change], problems: list[Problem]) -> Slice:
        began, until = time.thread_time(), time.monotonic() + SLICE_SECONDS
        found = Slice()
        weight = 0
        for change in changes:
            found.changes.append(change)
            weight += 1 + len(change.fresh)
            if weight >= SLICE or time.monotonic() >= until:
                break
        found.problems = problems.copy()
        problems.clear()
        found.cpu_seconds = time.thread_time() - began
        return found

    async def _run(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._executor, work)


def _below(root: bytes, paths: Iterable[bytes]) -> Iterator[bytes]:
    """Yield those of `paths` that are below `root`, relative to it."""
    top = root.rstrip(b"/") + b"/"
    yield from (path.removeprefix(top) for path in paths if path.startswith(top))
