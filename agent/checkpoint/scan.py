"""How much of a tree is not saved: the walk and the comparison of a pass, without reading or sending anything."""

import asyncio
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from agent.checkpoint.compare import Change, Fresh
from agent.checkpoint.opening import Opening
from agent.checkpoint.survey import Survey
from agent.value import value


@value
class Unsaved:
    """What a look at the scratch found.

    `files` and `bytes` are regular files that are new or changed, `oldest_change` is when the one of them that has been
    at rest for longest changed last. `unsure_files` and `unsure_bytes` look as they were stored, but can have changed
    without showing it: they have to be read again, not sent. `by_age` says how many bytes changed at least so many
    seconds ago, the oldest first, in steps of a factor of two. `total_files` and `total_bytes` are all there is.
    `seconds` and `cpu_seconds` are what the look took.
    """

    files: int
    bytes: int
    oldest_change: datetime | None
    unsure_files: int
    unsure_bytes: int
    total_files: int
    total_bytes: int
    by_age: list[tuple[float, int]]
    problems: int
    seconds: float
    cpu_seconds: float


async def scan(
    *, roots: Sequence[Path], exclude: Sequence[str], opening: Opening, executor: Executor, since: str = ""
) -> Unsaved:
    """Compare the trees of `roots` with their last head; memory is flat in the number of files.

    Objects stored by a pass before `since` count as unsaved. Raises RootMissing.
    """
    began = asyncio.get_running_loop().time()
    survey = Survey(roots, exclude, executor)
    tally = _Tally()
    await survey.open()
    base, adopted = await opening.base(survey.roots), await opening.adopted(survey.roots)
    try:
        async for found in survey.slices(base, since=since, adopted=adopted, entries=False):
            tally.problems += len(found.problems)
            tally.cpu_seconds += found.cpu_seconds
            for change in found.changes:
                tally.count(change)
    finally:
        survey.close()
    return tally.unsaved(seconds=asyncio.get_running_loop().time() - began)


@dataclass(slots=True)
class _Tally:
    files: int = 0
    bytes: int = 0
    unsure_files: int = 0
    unsure_bytes: int = 0
    unchanged_files: int = 0
    unchanged_bytes: int = 0
    problems: int = 0
    cpu_seconds: float = 0.0
    oldest: int | None = None
    ages: Counter[int] = field(default_factory=Counter)
    began_ns: int = field(default_factory=time.time_ns)

    def count(self, change: Change) -> None:
        self.unchanged_files += change.files
        self.unchanged_bytes += change.bytes
        for fresh in change.fresh:
            if not fresh.is_file:
                continue
            if fresh.stored is not None:
                self.unchanged_files += 1
                self.unchanged_bytes += fresh.stat.st_size
            elif fresh.same:
                self.unsure_files += 1
                self.unsure_bytes += fresh.stat.st_size
            else:
                self._count_changed(fresh)

    def _count_changed(self, fresh: Fresh) -> None:
        self.files += 1
        self.bytes += fresh.stat.st_size
        self.ages[max(1, (self.began_ns - fresh.changed_ns) // 10**9).bit_length() - 1] += fresh.stat.st_size
        self.oldest = fresh.changed_ns if self.oldest is None else min(self.oldest, fresh.changed_ns)

    def unsaved(self, *, seconds: float) -> Unsaved:
        return Unsaved(
            files=self.files,
            bytes=self.bytes,
            oldest_change=None if self.oldest is None else datetime.fromtimestamp(self.oldest / 1e9, UTC),
            unsure_files=self.unsure_files,
            unsure_bytes=self.unsure_bytes,
            total_files=self.files + self.unsure_files + self.unchanged_files,
            total_bytes=self.bytes + self.unsure_bytes + self.unchanged_bytes,
            by_age=[(float(1 << step), size) for step, size in sorted(self.ages.items(), reverse=True)],
            problems=self.problems,
            seconds=seconds,
            cpu_seconds=self.cpu_seconds,
        )
