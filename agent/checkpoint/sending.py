"""What workers do with the files of a backlog: small ones into packs, others alone, the largest part by part.

Whatever becomes of a file is told to the ledger, and to the other names of the same inode.
"""

import asyncio
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import TypeVar

from agent.checkpoint.backlog import Backlog
from agent.checkpoint.lane import Slice
from agent.checkpoint.ledger import Job, Ledger
from agent.checkpoint.links import Links
from agent.checkpoint.packing import ATTEMPTS, Packing
from agent.checkpoint.readers import Readers
from agent.checkpoint.refresh import Refresh
from agent.checkpoint.transfer import Transfer
from agent.checkpoint.uploads import Uploads
from agent.clock import Clock
from agent.errors import AgentError, IntegrityMismatch
from agent.model.checkpoint import Entry, Stat
from agent.scratch.reader import Source, SourceChanged
from agent.scratch.settled import is_settled
from agent.scratch.tree import Tree
from agent.scratch.walk import is_gone
from agent.store.base import Part, StoreDenied, UploadMissing

T = TypeVar("T")


class Sending:
    """`trees` by the number of their root; they may come later. `told` is called after each step."""

    def __init__(
        self,
        *,
        trees: Mapping[int, Tree],
        backlog: Backlog,
        uploads: Uploads,
        packing: Packing,
        readers: Readers,
        refresh: Refresh,
        ledger: Ledger,
        links: Links,
        clock: Clock,
        executor: Executor,
        largest: int,
        quiesced: bool,
        told: Callable[[], None],
    ) -> None:
        self._trees = trees
        self._backlog = backlog
        self._uploads = uploads
        self._packing = packing
        self._readers = readers
        self._refresh = refresh
        self._ledger = ledger
        self._links = links
        self._clock = clock
        self._executor = executor
        self._largest = largest
        self._quiesced = quiesced
        self._told = told

    async def work(self, worker: int) -> None:
        """Take what waits until all is done; several workers, by number, do this side by side."""
        while (unit := await self._backlog.take(worker)) is not None:
            match unit:
                case list():
                    await self._pack(unit)
                case Job():
                    await self._store(unit)
                case Slice():
                    await self._send(unit)
            self._told()

    def settle(self, job: Job, entry: Entry) -> None:
        """Note that a file is stored as `entry`, and so are the names that waited for it."""
        self._ledger.settle(job, entry)
        if not job.entry.link:
            return
        if not entry.link:  # the name leads to another inode by now
            self._try_another_name(job)
            return
        for waiting in self._links.settle(job, entry):
            self._ledger.settle(waiting, replace(entry, name=waiting.entry.name), shared=True)

    async def _pack(self, jobs: list[Job]) -> None:
        """Store small files: all that have to be read in one pack."""
        if unread := [job for job in jobs if not await self._refreshed(job)]:
            await self._pack_anew(unread)
        self._backlog.finish_pack(len(jobs))
        await self._uploads.write_receipts()

    async def _pack_anew(self, jobs: list[Job]) -> None:
        """Read small files into a pack and store it; those that are not small any more go their own way."""
        pack = partial(self._packing.pack, jobs, self._uploads.new_pack_key())
        packed = await self._readers.read(partial(self._run, pack))
        await self._uploads.put_pack(packed)
        for job, entry in packed.stored:
            self.settle(job, entry)
        for job, error in packed.lost:
            self._lose(job, error)
        for job in packed.unfit:
            job.alone = True
            self._backlog.put_now(job)

    async def _refreshed(self, job: Job) -> bool:
        """Have old bytes of a file copied in the store; return False when the file has to be read."""
        if (entry := await self._refresh.entry(job)) is None:
            return False
        self._uploads.refer(self._ledger.path_of(job), entry)
        self.settle(job, entry)
        return True

    async def _store(self, job: Job) -> None:
        """Store a file that is in no pack."""
        if await self._refreshed(job):
            await self._uploads.write_receipts()
            self._backlog.finish()
        else:
            await self._store_anew(job)

    async def _store_anew(self, job: Job) -> None:
        """Store a file of one request, again when it changed meanwhile; begin with one that is larger."""
        for attempts_left in reversed(range(ATTEMPTS)):
            at = self._clock.now()
            try:
                source = await self._run(partial(self._open, job, at))
            except OSError as error:
                self._lose(job, error)
                break
            settled = self._is_settled(job, source.stat, at)
            if source.length > self._largest:
                await self._begin_or_lose(job, source, settled=settled)
                return
            if await self._put(job, source, settled=settled, torn=not attempts_left):
                break
        self._backlog.finish()

    def _open(self, job: Job, at: datetime) -> Source:
        tree, entry = self._trees[job.home.root], job.entry
        return Source(tree, job.home.path, entry.name, now=None if self._quiesced else at)

    async def _put(self, job: Job, source: Source, *, settled: bool, torn: bool) -> bool:
        """Store a file in one request; return False when it has to be read again. `torn`: it changes each time."""
        try:
            entry = await self._uploads.put(job, self._ledger.path_of(job), source, settled=settled, torn=torn)
        except SourceChanged:
            return False
        except OSError as error:
            self._lose(job, error)
        else:
            self.settle(job, entry)
            await self._uploads.write_receipts()
        finally:
            source.close()
        return True

    async def _begin_or_lose(self, job: Job, source: Source, *, settled: bool) -> None:
        try:
            await self._begin(job, source, settled=settled)
        except OSError as error:
            source.close()
            self._lose(job, error)
            self._backlog.finish()

    async def _begin(self, job: Job, source: Source, *, settled: bool) -> None:
        """Go on with what an earlier life of the copier began or did with a large file, or begin."""
        path = self._ledger.path_of(job)
        found = None if job.attempt else await self._uploads.resume(job, path, source, settled=settled)
        if isinstance(found, Entry):
            source.close()
            self.settle(job, found)
            self._backlog.finish()
            return
        transfer = found or await self._uploads.begin(job, path, source, settled=settled)
        self._backlog.begin(transfer)
        if transfer.is_sent:
            await self._complete(transfer)

    def _is_settled(self, job: Job, stat: Stat, at: datetime) -> bool:
        """Return whether an equal stat in a later pass will mean that the file is the same."""
        shows = self._trees[job.home.root].shows_writes
        return self._quiesced or (shows and job.is_as_met(stat) and is_settled(stat, at))

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

    def _begin_anew(self, transfer: Transfer, error: AgentError) -> None:
        if transfer.job.attempt + 1 >= ATTEMPTS:
            raise error
        transfer.stale = True

    async def _complete(self, transfer: Transfer) -> None:
        try:
            entry = await self._uploads.complete(transfer, self._ledger.path_of(transfer.job))
        except (UploadMissing, IntegrityMismatch) as error:
            self._begin_anew(transfer, error)
            await self._give_up(transfer)
            return
        self._backlog.end(transfer)
        transfer.source.close()
        await self._uploads.write_receipts()
        self.settle(transfer.job, entry)
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
        else:
            job.attempt += 1
            self._backlog.put_now(job)
        self._backlog.finish()

    def _lose(self, job: Job, error: OSError) -> None:
        if is_gone(error):
            self._ledger.drop(job)
        else:
            self._ledger.lose(job, error.strerror or repr(error))
        if job.entry.link:
            self._try_another_name(job)

    def _try_another_name(self, job: Job) -> None:
        if (other := self._links.lose(job)) is not None:
            self._backlog.put_now(other)

    async def _run(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._executor, work)
