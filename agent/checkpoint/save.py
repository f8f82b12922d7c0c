"""Saving a tree: walked, read, sent by many connections at once, committed in steps.

The walk fills a backlog, workers empty it, a committer publishes what is stored every few seconds. All three end
together; whatever ends them, `commit` can publish what got through.
"""

import asyncio
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import TypeVar

from agent.chance import Chance
from agent.checkpoint.adopted import Adopted
from agent.checkpoint.backlog import Backlog
from agent.checkpoint.base import Base
from agent.checkpoint.buffers import Buffers
from agent.checkpoint.cache import Cache
from agent.checkpoint.choice import Choice
from agent.checkpoint.commits import Commits
from agent.checkpoint.hedge import Hedge
from agent.checkpoint.horizon import Horizon
from agent.checkpoint.keys import id_at, new_id
from agent.checkpoint.ledger import Job, Ledger
from agent.checkpoint.links import Links
from agent.checkpoint.opening import Opening
from agent.checkpoint.outline import pass_of
from agent.checkpoint.packing import Packing
from agent.checkpoint.part import Part
from agent.checkpoint.readers import Readers
from agent.checkpoint.receipts import Receipts
from agent.checkpoint.refresh import Refresh
from agent.checkpoint.sending import Sending
from agent.checkpoint.streams import FIRST, Streams
from agent.checkpoint.survey import Survey
from agent.checkpoint.together import one_error
from agent.checkpoint.uploads import Uploads
from agent.clock import Clock
from agent.model.checkpoint import CheckpointId, Commit, Entry, Head, Left, Totals
from agent.model.node import Node
from agent.model.progress import Progress
from agent.scratch.patterns import Ranks
from agent.store.base import ObjectStore

MIB = 1 << 20
MOST_LAYERS = 8
"""More segments of earlier passes are made into one: each of them is read by whoever reads the checkpoint."""
PACKS = 0.75
"""How many packs are under way at once, as a share of what its connections could send: 12 by default, at most 96 MB."""
SPARE = 64 << 10
"""What the members of a pack may take more than was reckoned: long names."""
COMMIT_SECONDS = 4.0
"""Between the beginnings of two commits: P3 promises five seconds, and a commit takes a while."""
LOOK_SECONDS = 0.2
"""How often it is looked whether so much is new that a commit can't wait, and whether segments have to be merged."""
REPORT_SECONDS = 0.2

SCATTERED = 16
"""One of so many files may be in a directory that stands in several segments: its rows are read to be compared."""
FEW = 20_000
"""Files of which that costs next to nothing: half a second (measured: some 20 us for each)."""

T = TypeVar("T")


class Saver:
    """One pass over `roots` into one checkpoint, one life of the copier.

    `store` tries again by itself: what it raises is permanent. `receipts` carry on where an earlier life of the same
    checkpoint was cut. `executor` runs everything that blocks; it should have a thread for each connection. `report`
    hears of the progress, at most five times a second; `committed` of every new head, also those on the way. `jobs`
    are in each of them, with what it holds of their files. What was stored longer ago than `refresh_after` is copied
    in the store, or sent again, rather than referred to, so that no head outlives its data; None: however long ago.
    `only` are complete paths: of the tree nothing else is saved, and the node's own last head stays what it is.
    Up to `most_connections` bodies are sent at once while more are faster together, or as `streams` has it: that of an
    earlier pass knows how many. As many packs are under way as `connections` have use for. Files that `priority`
    matches go before all others; what can't become whole within `horizon` comes last.
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
        only: Sequence[str] | None = None,
        priority: Sequence[str] = (),
        receipts: Receipts,
        clock: Clock,
        chance: Chance,
        executor: Executor,
        report: Callable[[Progress], None],
        committed: Callable[[Commit], None] = lambda _commit: None,
        connections: int = 16,
        most_connections: int = 0,
        streams: Streams | None = None,
        part_size: int = 8 * MIB,
        pack_below: int = MIB,
        pack_size: int = 8 * MIB,
        commit_every: float = COMMIT_SECONDS,
        quiesced: bool = False,
        jobs: Sequence[Mapping[str, object]] = (),
        cache: Cache | None = None,
        choice: Choice | None = None,
        refresh_after: timedelta | None = None,
        horizon: Horizon | None = None,
    ) -> None:
        self._prefix = prefix
        self.checkpoint = checkpoint
        self._survey = Survey(roots, exclude, executor, only=only)
        self._only = None if only is None else [os.fsencode(path) for path in only]
        self._opening = Opening(store=store, prefix=prefix, cache=cache, executor=executor, clock=clock)
        self._adopted = Adopted()
        self._ranks = Ranks(priority)
        self._choice = choice or Choice()
        self._since = None if refresh_after is None else clock.now() - refresh_after
        self._since_id = id_at(self._since) if self._since else ""
        self._receipts = receipts
        self._executor = executor
        self._report = report
        most = max(connections, most_connections)
        self.streams = streams or Streams(min(FIRST, connections), most)
        self._workers = 0
        self._commit_every = commit_every
        self._pass_id = new_id(clock, chance)
        self._links = Links()
        self._horizon = horizon or Horizon(None)
        packs = max(1, int(PACKS * connections * part_size / pack_size))
        self._backlog = Backlog(
            pack_below=pack_below,
            pack_size=pack_size,
            packs=packs,
            largest=part_size,
            horizon=self._horizon,
        )
        self._bytes_sent = 0
        self._reported = float("-inf")
        self._ledger = Ledger(self._survey.roots)
        buffers = Buffers(pack_size + SPARE, packs)
        self._uploads = Uploads(
            store=store,
            prefix=prefix,
            writer=node.writer,
            pass_id=self._pass_id,
            receipts=receipts,
            executor=executor,
            buffers=buffers,
            hedge=Hedge(most),
            part_size=part_size,
            streams=most,
            sent=self._count_sent,
        )
        packing = Packing(
            buffers=buffers,
            trees=self._survey.trees,
            roots=self._survey.roots,
            below=pack_below,
            receipts=receipts,
            clock=clock,
            quiesced=quiesced,
        )
        self._refresh = Refresh(
            store=store,
            prefix=prefix,
            since=self._since_id,
            executor=executor,
            new_pack_key=self._uploads.new_pack_key,
            new_key=self._uploads.new_key,
        )
        self._sending = Sending(
            trees=self._survey.trees,
            backlog=self._backlog,
            uploads=self._uploads,
            packing=packing,
            readers=Readers(max(1, packs // 2)),
            refresh=self._refresh,
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
                roots=self._survey.roots,
                segments=(),
                complete=False,
                quiesced=quiesced,
                totals=Totals(),
                left=Left(),
                notice=notice,
                jobs=tuple(jobs),
            ),
            receipts=receipts,
            cache=cache if only is None else None,
            executor=executor,
            clock=clock,
            committed=committed,
        )

    @property
    def trouble(self) -> tuple[str, ...]:
        """What went wrong and did not stop the copy, as sentences."""
        others = (self._receipts.trouble, self._opening.trouble, self._refresh.trouble)
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
        self._receipts.begin(pass_id=self._pass_id, checkpoint=self.checkpoint, prefix=self._prefix)
        await self._survey.open()
        base = await self._open_base()
        is_sent = asyncio.Event()
        try:
            with one_error():
                async with asyncio.TaskGroup() as group:
                    group.create_task(self._commit_now_and_then(is_sent), name="save: commits")
                    if base is not None and self._is_worn(base):
                        group.create_task(self._commits.compact(base), name="save: compaction")
                    merging = group.create_task(self._merge_now_and_then(), name="save: merges")
                    await self._send_all(base)
                    is_sent.set()
                    merging.cancel()
        finally:
            self._tell()
            self._survey.close()
            self._backlog.clear()

    async def commit(self, *, on_the_way: bool = False) -> Commit:
        """Publish all that is stored: a segment of what is new, and a head; the last one when there is nothing new.

        `on_the_way`: the copy goes on. Raises the store's PermanentError.
        """
        commit = await self._commits.commit(self._ledger, on_the_way=on_the_way)
        if commit.head.complete:
            await self._opening.forget(self._adopted)
        return commit

    def _is_worn(self, base: Base) -> bool:
        """Return whether the segments of a base are too many, or some of them too old."""
        is_old = any(pass_of(ref.key) < self._since_id for ref in base.head.segments)
        return is_old or len(base.layers) > MOST_LAYERS or is_scattered(base.head)

    async def _open_base(self) -> Base | None:
        if self._only is not None:
            self._adopted = await self._opening.rows(self._survey.roots, self._only, since=self._since)
            return None
        base = await self._opening.base(self._survey.roots, self._receipts, since=self._since)
        if base is not None:
            self._commits.build_on(base)
            self._ledger.build_on(base.head.totals)
            self._refresh.build_on(base)
        elif self._opening.unread is not None and self._opening.unread.checkpoint == self.checkpoint:
            self._commits.keep_below(self._opening.unread)
        elif self._opening.is_blind:
            self._commits.hold_back()
        self._adopted = await self._opening.adopted(self._survey.roots)
        return base

    async def _send_all(self, base: Base | None) -> None:
        async with asyncio.TaskGroup() as self._crew:
            self._crew.create_task(self._walk(base), name="save: walk")
            self._have_workers(self.streams.count)

    def _have_workers(self, count: int) -> None:
        for number in range(self._workers, count):
            self._crew.create_task(self._sending.work(number), name=f"save: worker {number}")
        self._workers = max(self._workers, count)

    async def _commit_now_and_then(self, is_sent: asyncio.Event) -> None:
        loop = asyncio.get_running_loop()
        due = loop.time() + self._commit_every
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout_at(min(due, loop.time() + LOOK_SECONDS)):
                    await is_sent.wait()
            if is_sent.is_set():
                return
            if loop.time() < due and not self._ledger.is_full:
                continue
            due = loop.time() + self._commit_every
            if self._ledger.has_news and self._commits.may_say(self._ledger.standing()):
                await self.commit(on_the_way=True)

    async def _merge_now_and_then(self) -> None:
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            if self._commits.are_many:
                await self._commits.merge_smallest()

    async def _walk(self, base: Base | None) -> None:
        """Look at the files that go first, wherever they are, before all others: a full backlog holds up a walk."""
        part = Part(ranks=self._ranks, is_first=bool(self._ranks.last))
        if part.is_first:
            await self._walk_part(base, part)
            part = part.rest()
        await self._walk_part(base, part)
        self._ledger.walked = True
        self._backlog.close()

    async def _walk_part(self, base: Base | None, part: Part) -> None:
        async for found in self._survey.slices(base, since=self._since_id, adopted=self._adopted, part=part):
            for problem in found.problems:
                self._ledger.add_problem(problem)
            for change in found.changes:
                await self._meet(self._ledger.meet(change))
            self._tell_sometimes()

    async def _meet(self, jobs: Sequence[Job]) -> None:
        for job in jobs:
            if self._ranks.last:
                job.rank = self._ranks.of(job.path)
            if (other := self._links.stored_as(job)) is not None:
                self._ledger.settle(job, replace(other, name=job.entry.name), shared=True)
            elif (known := self._uploads.known(job, self._ledger.path_of(job)) or self._restored(job)) is not None:
                self._sending.settle(job, known)
            elif not self._choice.takes(job.entry):
                self._ledger.leave(job)
            elif not self._links.joins(job):
                await self._backlog.put(job)

    def _restored(self, job: Job) -> Entry | None:
        """Return the entry of a file that is as it was restored, where its times can be believed."""
        row = job.stored
        if row is None or not self._survey.trees[job.home.root].shows_writes:
            return None
        return replace(job.entry, xattrs=row.xattrs, extents=row.extents, ref=row.ref)

    def _count_sent(self, size: int) -> None:
        self._bytes_sent += size
        self._horizon.sent(size)
        self._have_workers(self.streams.sent(size, asyncio.get_running_loop().time()))

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


def is_scattered(head: Head) -> bool:
    """Return whether about so many files are in directories that stand in several segments that one of all pays."""
    totals = head.totals
    again = sum(ref.directories for ref in head.segments) - totals.directories
    return again * totals.files // max(1, totals.directories) > max(FEW, totals.files // SCATTERED)
