"""Saving a tree: walked, read, sent by many connections at once, committed in steps.

The walk fills a backlog, workers empty it, a committer publishes what is stored every few seconds. All three end
together; whatever ends them, `commit` can publish what got through.
"""

import asyncio
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TypeVar

from agent.chance import Chance
from agent.checkpoint.backlog import Backlog
from agent.checkpoint.commits import Commits
from agent.checkpoint.keys import new_id
from agent.checkpoint.ledger import Ledger
from agent.checkpoint.links import Links
from agent.checkpoint.packing import Packing
from agent.checkpoint.receipts import Receipts
from agent.checkpoint.sending import Sending
from agent.checkpoint.together import one_error
from agent.checkpoint.uploads import Uploads
from agent.clock import Clock
from agent.model.checkpoint import CheckpointId, Commit, Directory, Head, Left, Totals
from agent.model.node import Node
from agent.model.progress import Progress
from agent.scratch.tree import RootMissing, Tree
from agent.scratch.walk import Problem, Walk, join
from agent.store.base import ObjectStore

MIB = 1 << 20
SLICE = 2000
"""Entries that the walk brings at once: some 20 ms of its time."""
COMMIT_SECONDS = 4.0
"""Between the beginnings of two commits: P3 promises five seconds, and a commit takes a while."""
REPORT_SECONDS = 0.2

T = TypeVar("T")


class Saver:
    """One pass over `roots` into one checkpoint, one life of the copier.

    `store` tries again by itself: what it raises is permanent. `receipts` carry on where an earlier life of the same
    checkpoint was cut. `executor` runs everything that blocks; it should have a thread for each connection. `report`
    hears of the progress, at most five times a second; `committed` of every new head, also those on the way. `jobs`
    are in each of them, with what it holds of their files.
    """

    def __init__(
        self,
        *,
        store: ObjectStore,
        prefix: str,
        node: Node,
        checkpoint: CheckpointId,
        reason: str,
        notice: Mapping[str, object] | None,
        roots: Sequence[Path],
        exclude: Sequence[str],
        receipts: Receipts,
        clock: Clock,
        chance: Chance,
        executor: Executor,
        report: Callable[[Progress], None],
        committed: Callable[[Commit], None] = lambda _commit: None,
        connections: int = 16,
        part_size: int = 8 * MIB,
        pack_below: int = MIB,
        pack_size: int = 8 * MIB,
        commit_every: float = COMMIT_SECONDS,
        quiesced: bool = False,
        jobs: Sequence[Mapping[str, object]] = (),
    ) -> None:
        self._prefix = prefix
        self._checkpoint = checkpoint
        self._roots = tuple(dict.fromkeys(os.path.abspath(root) for root in roots))  # noqa: PTH100 - bytes later
        self._exclude = tuple(exclude)
        self._receipts = receipts
        self._executor = executor
        self._report = report
        self._connections = connections
        self._commit_every = commit_every
        self._pass_id = new_id(clock, chance)
        self._trees: dict[int, Tree] = {}
        self._links = Links()
        self._backlog = Backlog(
            pack_below=pack_below,
            pack_size=pack_size,
            packs=max(1, connections * part_size // pack_size),
            largest=part_size,
        )
        self._bytes_sent = 0
        self._reported = float("-inf")
        names = tuple(map(os.fsencode, self._roots))
        self._ledger = Ledger(names)
        self._uploads = Uploads(
            store=store,
            prefix=prefix,
            writer=node.writer,
            pass_id=self._pass_id,
            receipts=receipts,
            executor=executor,
            part_size=part_size,
            memory=connections * part_size,
            sent=self._count_sent,
        )
        packing = Packing(
            trees=self._trees,
            roots=names,
            below=pack_below,
            receipts=receipts,
            clock=clock,
            quiesced=quiesced,
        )
        self._sending = Sending(
            trees=self._trees,
            backlog=self._backlog,
            uploads=self._uploads,
            packing=packing,
            ledger=self._ledger,
            links=self._links,
            clock=clock,
            executor=executor,
            largest=part_size,
            quiesced=quiesced,
            told=self._tell_sometimes,
        )
        self._commits = Commits(
            store=store,
            prefix=prefix,
            pass_id=self._pass_id,
            like=Head(
                checkpoint=checkpoint,
                n=0,
                cluster=node.cluster,
                node=node.name,
                instance_id=node.instance_id,
                boot_id=node.boot_id,
                writer=node.writer,
                created_at=clock.now(),
                reason=reason,
                roots=names,
                segments=(),
                complete=False,
                quiesced=quiesced,
                totals=Totals(),
                left=Left(),
                notice=notice,
                jobs=tuple(jobs),
            ),
            receipts=receipts,
            executor=executor,
            clock=clock,
            committed=committed,
        )

    @property
    def trouble(self) -> tuple[str, ...]:
        """What went wrong and did not stop the copy, as sentences."""
        others = (self._receipts.trouble, self._commits.trouble)
        return (*self._ledger.troubles, *(sentence for sentence in others if sentence))

    @property
    def left(self) -> Left:
        """What was seen and is not stored."""
        return self._ledger.standing().left

    @property
    def totals(self) -> Totals:
        """What is stored, in a segment or not yet."""
        return self._ledger.standing().totals

    async def copy(self) -> None:
        """Walk, and send everything; commit on the way. Call it once.

        May be cancelled anywhere. Raises RootMissing when there is nothing to walk, and the store's PermanentError.
        """
        self._receipts.begin(pass_id=self._pass_id, checkpoint=self._checkpoint, prefix=self._prefix)
        await self._open_roots()
        is_sent = asyncio.Event()
        try:
            with one_error():
                async with asyncio.TaskGroup() as group:
                    group.create_task(self._commit_now_and_then(is_sent), name="save: commits")
                    await self._send_all()
                    is_sent.set()
        finally:
            self._tell()
            # Threads may still read: descriptors are closed with the last reference, not here.
            self._trees.clear()
            self._backlog.clear()

    async def commit(self) -> Commit:
        """Publish all that is stored: a segment of what is new, and a head; the last one when there is nothing new.

        Raises the store's PermanentError.
        """
        return await self._commits.commit(self._ledger)

    async def _send_all(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._walk(), name="save: walk")
            for number in range(self._connections):
                group.create_task(self._sending.work(number), name=f"save: worker {number}")

    async def _commit_now_and_then(self, is_sent: asyncio.Event) -> None:
        loop = asyncio.get_running_loop()
        due = loop.time() + self._commit_every
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout_at(due):
                    await is_sent.wait()
            if is_sent.is_set():
                return
            due = loop.time() + self._commit_every
            if self._ledger.has_news:
                await self.commit()

    async def _open_roots(self) -> None:
        missing: list[RootMissing] = []
        for number, root in enumerate(self._roots):
            try:
                self._trees[number] = await self._run(partial(Tree, Path(root)))
            except RootMissing as error:
                missing.append(error)
                self._ledger.add_problem(Problem(path=os.fsencode(root), detail=error.detail))
        if missing and not self._trees:
            raise missing[0]

    async def _walk(self) -> None:
        problems: list[Problem] = []
        for number, tree in self._trees.items():
            walk = iter(Walk(tree, root=number, exclude=self._exclude, report=problems.append))
            while found := await self._run(partial(_slice, walk)):
                for directory in found:
                    await self._meet(directory)
                while problems:
                    self._ledger.add_problem(problems.pop())
        self._ledger.walked = True
        self._backlog.close()

    async def _meet(self, directory: Directory) -> None:
        path = join(os.fsencode(self._roots[directory.root]), directory.path)
        if directory.path and self._receipts.was_file(path):
            self._ledger.hide(directory)
        for job in self._ledger.meet(directory):
            if (other := self._links.stored_as(job)) is not None:
                self._ledger.settle(job, replace(other, name=job.entry.name), shared=True)
            elif (known := self._uploads.known(job, join(path, job.entry.name))) is not None:
                self._sending.settle(job, known)
            elif not self._links.joins(job):
                await self._backlog.put(job)
        self._tell_sometimes()

    def _count_sent(self, size: int) -> None:
        self._bytes_sent += size

    def _tell_sometimes(self) -> None:
        now = asyncio.get_running_loop().time()
        if now - self._reported >= REPORT_SECONDS:
            self._reported = now
            self._tell()

    def _tell(self) -> None:
        ledger = self._ledger
        progress = Progress(
            files_total=ledger.files_total,
            bytes_total=ledger.bytes_total,
            files_done=ledger.files_done,
            bytes_done=ledger.bytes_done + self._backlog.bytes_under_way,
            bytes_sent=self._bytes_sent,
            walked=ledger.walked,
        )
        self._report(progress)

    async def _run(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._executor, work)


def _slice(walk: Iterator[Directory]) -> list[Directory]:
    """Return the next directories of a walk, about `SLICE` entries; none at its end."""
    found: list[Directory] = []
    weight = 0
    for directory in walk:
        found.append(directory)
        weight += 1 + len(directory.entries)
        if weight >= SLICE:
            break
    return found
