"""The way back: the tree of a checkpoint below a directory, as it was, as fast as the store answers.

Many GETs run side by side; a file appears whole or not at all, and never in place of another unless that was asked for,
so that a run that was cut is simply run again. What is wrong with one file stops no other.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from pathlib import Path
from typing import TYPE_CHECKING

from agent.chance import SystemChance
from agent.checkpoint.catalog import load_segments, tree
from agent.checkpoint.fetching import Fetching
from agent.checkpoint.leftover import Working
from agent.checkpoint.placing import Placing
from agent.checkpoint.tally import Restored, Tally
from agent.checkpoint.target import Target
from agent.checkpoint.together import blocking, one_error
from agent.checkpoint.unfolding import Unfolding
from agent.checkpoint.written import Written
from agent.errors import IntegrityMismatch
from agent.model.checkpoint import Commit, Directory, Head
from agent.model.progress import Progress
from agent.store.base import ObjectStore

if TYPE_CHECKING:
    from agent.checkpoint.own import Own

_TOKEN_DIGITS = 8


class RestoreDamaged(IntegrityMismatch):
    """Everything that could be restored was; the store did not hold the rest as it was recorded."""

    def __init__(self, subject: str, detail: str, restored: Restored) -> None:
        hint = "these files were left out; an older checkpoint may have them"
        super().__init__("restore", subject, detail, hint=hint)
        self.restored = restored


class Restorer:
    """Restores checkpoints below `target`, which is made if it is missing.

    `owner`: give files their owners, setuid bits and privileged attributes, for which one has to be root. `overwrite`:
    replace files that differ. `keep`: what was begun of large files stays when the restore is cut, for one that goes on
    with it; without one nobody would remove it. `report` hears of the progress, often, in the event loop, `written` of
    every file.
    """

    def __init__(
        self,
        store: ObjectStore,
        prefix: str,
        *,
        target: Path,
        executor: Executor,
        owner: bool,
        overwrite: bool = False,
        keep: bool = False,
        connections: int = 16,
        report: Callable[[Progress], None] = lambda _: None,
        written: Written | None = None,
    ) -> None:
        self._store = store
        self._prefix = prefix
        self._path = target
        self._executor = executor
        self._owner = owner
        self._overwrite = overwrite
        self._keep = keep
        self._connections = connections
        self._report = report
        self._written = written

    async def restore(self, commit: Commit, *, dry_run: bool = False, own: "Own | None" = None) -> Restored:
        """Restore a checkpoint, of it only what is `own`; with `dry_run` only count what it holds.

        May be run again after it was cut: what is in place by size and mtime is left alone. Raises RestoreDamaged,
        after all else was restored, when stored bytes are missing or wrong; FormatInvalid, NoRoom, TargetUnusable and
        errors of the store at once.
        """
        blobs = await load_segments(self._store, self._prefix, commit.head, self._executor)

        def holds() -> Iterator[Directory]:
            lines = tree(commit.head, blobs)
            return lines if own is None else own.lines(lines)

        tally = Tally(commit.head, self._report)
        if dry_run:
            await blocking(self._executor, tally.holdings, holds())
        else:
            if self._written is not None:
                self._written.lines = holds
            await self._unfold(commit, holds(), tally, own)
        restored = tally.restored()
        if tally.damage is not None:
            raise RestoreDamaged(tally.name(tally.damage), f"{tally.damage.key}: {tally.damage.detail}", restored)
        return restored

    async def _unfold(self, commit: Commit, lines: Iterator[Directory], tally: "Tally", own: "Own | None") -> None:
        target = await blocking(self._executor, self._target, commit.head, own)
        working = Working(SystemChance().token(_TOKEN_DIGITS))
        placing = Placing(
            target,
            working=working,
            owner=self._owner,
            overwrite=self._overwrite,
            only_made=own is not None,
            keep=self._keep,
            written=self._written,
        )
        try:
            unfolding = Unfolding(lines, target, overwrite=self._overwrite)
            fetching = Fetching(self._store, self._prefix, self._executor, placing, tally, self._connections)
            with one_error():
                await fetching.all(unfolding)
        finally:
            placing.close()
            target.close()
            working.close()

    def _target(self, head: Head, own: "Own | None") -> Target:
        return Target(self._path, head.roots) if own is None else own.target(self._path)
