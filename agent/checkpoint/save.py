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
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TypeVar

from agent.chance import Chance
from agent.checkpoint.backlog import Backlog, Slice
from agent.checkpoint.commits import Commits
from agent.checkpoint.keys import new_id
from agent.checkpoint.ledger import Job, Ledger
from agent.checkpoint.links import Links
from agent.checkpoint.receipts import Receipts
from agent.checkpoint.together import one_error
from agent.checkpoint.transfer import Transfer
from agent.checkpoint.uploads import Uploads
from agent.clock import Clock
from agent.model.checkpoint import CheckpointId, Commit, Directory, Entry, Head, Left, Stat, Totals
from agent.model.node import Node
from agent.model.progress import Progress
from agent.scratch.reader import Source, SourceChanged, Whole, read_whole
from agent.scratch.settled import is_settled
from agent.scratch.tree import RootMissing, Tree
from agent.scratch.walk import Problem, Walk, is_gone, join
from agent.store.base import ObjectStore, Part, StoreDenied, UploadMissing

MIB = 1 << 20
ATTEMPTS = 3
"""How often a file that changes while it is read is read; after that it is stored torn."""
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
        self._part_size = part_size
        self._commit_every = commit_every
        self._quiesced = quiesced
        self._clock = clock
        self._pass_id = new_id(clock, chance)
        self._trees: dict[int, Tree] = {}
        self._links = Links()
        self._backlog = Backlog(connections)
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
            self._backlog = Backlog(self._connections)

    async def commit(self) -> Commit:
        """Publish all that is stored: a segment of what is new, and a head; the last one when there is nothing new.

        Raises the store's PermanentError.
        """
        return await self._commits.commit(self._ledger)

    async def _send_all(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._walk(), name="save: walk")
            for number in range(self._connections):
                group.create_task(self._work(large_first=bool(number % 2)), name=f"save: worker {number}")

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
                self._settle(job, known)
            elif not self._links.joins(job):
                await self._backlog.put(job, is_large=job.entry.stat.size > self._part_size)
        self._tell_sometimes()

    async def _work(self, *, large_first: bool) -> None:
        while (unit := await self._backlog.take(large_first=large_first)) is not None:
            if isinstance(unit, Slice):
                await self._send(unit)
            else:
                await self._store(unit)
            self._tell_sometimes()

    async def _store(self, jobs: Sequence[Job]) -> None:
        """Read and store files of one request each; begin with those that are larger."""
        at = self._clock.now()
        names = [(self._trees[job.home.root], job.home.path, job.entry.name) for job in jobs]
        for job, found in zip(jobs, await self._run(partial(_read_all, names, self._part_size)), strict=True):
            if isinstance(found, OSError):
                self._lose(job, found)
            elif isinstance(found, Whole):
                settled = self._is_settled(job, found.stat, at)
                self._settle(job, await self._uploads.put(job, self._ledger.path_of(job), found, settled=settled))
                self._backlog.finish()
            else:
                await self._begin_or_lose(job, found, settled=self._is_settled(job, found.stat, at))
        await self._uploads.write_receipts()

    async def _begin_or_lose(self, job: Job, source: Source, *, settled: bool) -> None:
        try:
            await self._begin(job, source, settled=settled)
        except OSError as error:
            source.close()
            self._lose(job, error)

    async def _begin(self, job: Job, source: Source, *, settled: bool) -> None:
        """Go on with what an earlier life of the copier began or did with a large file, or begin."""
        path = self._ledger.path_of(job)
        found = None if job.attempt else await self._uploads.resume(job, path, source, settled=settled)
        if isinstance(found, Entry):
            source.close()
            self._settle(job, found)
            self._backlog.finish()
            return
        transfer = found or await self._uploads.begin(job, path, source, settled=settled)
        self._backlog.begin(transfer)
        if transfer.is_sent:
            await self._complete(transfer)

    def _is_settled(self, job: Job, stat: Stat, at: datetime) -> bool:
        """Return whether an equal stat in a later pass will mean that the file is the same."""
        return self._quiesced or (self._trees[job.home.root].shows_writes and is_settled(stat, at))

    async def _send(self, unit: Slice) -> None:
        """Read and store one part of a large file; with the last one the file is stored."""
        transfer = unit.transfer
        part = None
        try:
            part = await self._send_or_tear(unit)
        except (SourceChanged, UploadMissing) as error:
            self._begin_anew(transfer, error)
        except OSError as error:
            transfer.stale = True
            transfer.failure = error
        transfer.release(part)
        if transfer.is_sent:
            await self._complete(transfer)
        elif transfer.stale and transfer.is_idle:
            await self._give_up(transfer)

    async def _send_or_tear(self, unit: Slice) -> Part:
        """Send a part; a file that changed at each attempt is sent as it is, and marked."""
        transfer = unit.transfer
        try:
            return await self._uploads.send(transfer, unit.number)
        except SourceChanged:
            if transfer.job.attempt + 1 < ATTEMPTS:
                raise
        transfer.torn = True
        return await self._uploads.send(transfer, unit.number)

    def _begin_anew(self, transfer: Transfer, error: SourceChanged | UploadMissing) -> None:
        if transfer.job.attempt + 1 >= ATTEMPTS:
            raise error
        transfer.stale = True

    async def _complete(self, transfer: Transfer) -> None:
        try:
            entry = await self._uploads.complete(transfer, self._ledger.path_of(transfer.job))
        except UploadMissing as error:
            self._begin_anew(transfer, error)
            await self._give_up(transfer)
            return
        self._backlog.end(transfer)
        transfer.source.close()
        await self._uploads.write_receipts()
        self._settle(transfer.job, entry)
        self._backlog.finish()

    async def _give_up(self, transfer: Transfer) -> None:
        """Drop an upload; its file is begun anew, unless it can't be read."""
        self._backlog.end(transfer)
        transfer.source.close()
        try:
            await self._uploads.abort(transfer)
        except StoreDenied as error:
            self._ledger.add_trouble(str(error))
        job = transfer.job
        if transfer.failure is not None:
            self._lose(job, transfer.failure)
            return
        job.attempt += 1
        self._queue(job)
        self._backlog.finish()

    def _settle(self, job: Job, entry: Entry) -> None:
        self._ledger.settle(job, entry)
        if not job.entry.link:
            return
        if not entry.link:  # the name leads to another inode by now
            self._try_another_name(job)
            return
        for waiting in self._links.settle(job, entry):
            self._ledger.settle(waiting, replace(entry, name=waiting.entry.name), shared=True)

    def _lose(self, job: Job, error: OSError) -> None:
        if is_gone(error):
            self._ledger.drop(job)
        else:
            self._ledger.lose(job, error.strerror or repr(error))
        if job.entry.link:
            self._try_another_name(job)
        self._backlog.finish()

    def _try_another_name(self, job: Job) -> None:
        if (other := self._links.lose(job)) is not None:
            self._queue(other)

    def _queue(self, job: Job) -> None:
        self._backlog.put_now(job, is_large=job.entry.stat.size > self._part_size)

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


def _read_all(names: Sequence[tuple[Tree, bytes, bytes]], largest: int) -> list[Whole | Source | OSError]:
    return [_read(tree, folder, name, largest) for tree, folder, name in names]


def _read(tree: Tree, folder: bytes, name: bytes, largest: int) -> Whole | Source | OSError:
    try:
        return read_whole(tree, folder, name, largest=largest, attempts=ATTEMPTS)
    except OSError as error:
        return error
