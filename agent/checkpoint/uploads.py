"""The bytes of files on their way into objects, each with its receipt.

A file of one request is one put; a larger one is a multipart upload, whose checksum is put together from those of its
parts and compared by the store when it completes.
"""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor
from dataclasses import replace
from functools import partial
from itertools import count
from typing import TypeVar

from agent.checkpoint.buffers import Buffers
from agent.checkpoint.hedge import Hedge
from agent.checkpoint.keys import file_key, full, pack_key
from agent.checkpoint.known import known_bytes
from agent.checkpoint.ledger import Job
from agent.checkpoint.packing import Packed
from agent.checkpoint.receipt import ObjectReceipt, UploadReceipt, signature
from agent.checkpoint.receipts import Receipts
from agent.checkpoint.transfer import Transfer, part_size_for
from agent.checksum import combine
from agent.model.checkpoint import Entry, ObjectRef
from agent.scratch.reader import Source, SourceChanged
from agent.store.base import Body, ObjectMissing, ObjectStore, Part, UploadMissing, size_of

T = TypeVar("T")


class Uploads:
    """`streams` parts of one file are under way at most; `sent` hears of every body that was acknowledged."""

    def __init__(
        self,
        *,
        store: ObjectStore,
        prefix: str,
        writer: str,
        pass_id: str,
        receipts: Receipts,
        executor: Executor,
        buffers: Buffers,
        hedge: Hedge,
        part_size: int,
        streams: int,
        sent: Callable[[int], None],
    ) -> None:
        self._store = store
        self._prefix = prefix
        self._writer = writer
        self._pass_id = pass_id
        self._receipts = receipts
        self._executor = executor
        self._buffers = buffers
        self._hedge = hedge
        self._part_size = part_size
        self._streams = streams
        self._sent = sent
        self._counter = count(1)

    def known(self, job: Job, path: bytes) -> Entry | None:
        """Return the entry of a file that is stored as it is, going by its times; None when it has to be read."""
        receipt = self._receipts.object_of(path, job.entry.stat)
        if receipt is None or not receipt.settled:
            return None
        return replace(job.entry, xattrs=receipt.xattrs, extents=receipt.extents, ref=receipt.ref)

    def new_pack_key(self) -> str:
        return pack_key(writer=self._writer, pass_id=self._pass_id, counter=next(self._counter))

    def new_key(self, job: Job) -> str:
        return file_key(writer=self._writer, pass_id=self._pass_id, counter=next(self._counter), name=job.entry.name)

    def refer(self, path: bytes, entry: Entry) -> None:
        """Note that the bytes of a file are stored as its entry says."""
        if entry.ref is not None and not entry.torn:
            receipt = ObjectReceipt(
                path=path,
                signature=signature(entry.stat),
                key=entry.ref.key,
                offset=entry.ref.offset,
                crc64nvme=entry.ref.crc64nvme,
                extents=entry.extents,
                xattrs=entry.xattrs,
                settled=not entry.unsettled,
            )
            self._receipts.stored(receipt)

    async def put_pack(self, packed: Packed) -> None:
        """Store a pack, and note whose bytes are in it; nothing is sent when it has no members."""
        if packed.body:
            await self._put_object(packed.key, packed.body, packed.crc64nvme)
        self._buffers.give(packed.buffer)
        self._receipts.packed(packed.receipts)

    async def put(self, job: Job, path: bytes, source: Source, *, settled: bool, torn: bool) -> Entry:
        """Store a file in one request; one without bytes, or with those that are stored, is not sent.

        One that may be `torn` is stored as it is, and is marked if it changed. Raises SourceChanged for another, and
        OSError. The receipts of many files are written together: the caller does it (`write_receipts`).
        """
        ref = await self._ref(job, path, source, torn=torn) if source.length else None
        try:
            await self._run(source.check)
        except SourceChanged:
            if not torn:
                raise
            return self._done(job, path, source, ref, torn=True, settled=settled)
        return self._done(job, path, source, ref, torn=False, settled=settled)

    async def begin(self, job: Job, path: bytes, source: Source, *, settled: bool) -> Transfer:
        """Begin the upload of a large file."""
        key = self.new_key(job)
        upload = await self._store.begin(full(self._prefix, key))
        receipt = UploadReceipt(
            path=path,
            signature=signature(source.stat),
            key=key,
            upload=upload,
            part_size=part_size_for(source.length, self._part_size),
            extents=source.extents,
            settled=settled,
        )
        self._receipts.begun(receipt)
        await self.write_receipts()
        return self._transfer(job, source, receipt, [], settled=settled)

    async def resume(self, job: Job, path: bytes, source: Source, *, settled: bool) -> Transfer | Entry | None:
        """Return the upload that another life began for the file, or the file's entry when it is stored already.

        None when there is nothing to go on with.
        """
        for ref, extents in known_bytes(self._receipts, job, path, source.stat):
            if extents == source.extents and await self._holds(source, ref.crc64nvme):
                return self._done(job, path, source, ref, torn=False, settled=settled)
        receipt = self._receipts.upload_of(path, source.stat)
        if receipt is None or receipt.extents != source.extents:
            return None
        try:
            stored = await self._store.parts(full(self._prefix, receipt.key), receipt.upload)
        except UploadMissing:
            return await self._completed(job, path, source, receipt, settled=settled)
        return self._transfer(job, source, receipt, resumable(stored, receipt), settled=settled)

    async def _completed(
        self, job: Job, path: bytes, source: Source, receipt: UploadReceipt, *, settled: bool
    ) -> Entry | None:
        """Return the entry of a file whose upload is gone because it was completed just before the cut."""
        try:
            stored = await self._store.head(full(self._prefix, receipt.key))
        except ObjectMissing:
            return None
        known = self._transfer(job, source, replace(receipt, settled=True), receipt.parts.values(), settled=settled)
        checksum = known.crc64nvme if known.is_sent else stored.crc64nvme
        if stored.size != source.length or checksum is None or stored.crc64nvme not in {None, checksum}:
            return None
        if not receipt.settled and not await self._holds(source, checksum):
            return None
        ref = ObjectRef(key=receipt.key, offset=0, length=source.length, crc64nvme=checksum)
        return self._done(job, path, source, ref, torn=False, settled=settled)

    async def _holds(self, source: Source, checksum: int) -> bool:
        """Return whether the bytes of a large file have this checksum: all are read, none is sent. Raises OSError."""
        found = 0
        for offset in range(0, source.length, self._part_size):
            length = min(self._part_size, source.length - offset)
            found = combine(found, await self._run(partial(source.checksum, offset, length)), length)
        return found == checksum and await self._run(partial(_is_unchanged, source))

    async def _same(self, job: Job, path: bytes, source: Source) -> ObjectRef | None:
        """Return where just these bytes of the file are stored."""
        known = [
            ref for ref, extents in known_bytes(self._receipts, job, path, source.stat) if extents == source.extents
        ]
        if not known:
            return None
        found = await self._run(partial(source.checksum, 0, source.length))
        return next((ref for ref in known if ref.crc64nvme == found), None)

    async def _ref(self, job: Job, path: bytes, source: Source, *, torn: bool) -> ObjectRef:
        """Return where the bytes of a file are stored: those that are already, or those that are sent."""
        if (same := await self._same(job, path, source)) is not None:
            return same
        key = self.new_key(job)
        body, checksum = await self._body(source, 0, source.length, torn=torn)
        stored = await self._put_object(key, body, checksum)
        return ObjectRef(key=key, offset=0, length=source.length, crc64nvme=stored)

    async def _put_object(self, key: str, body: Body, checksum: int | None) -> int:
        put = partial(self._store.put, full(self._prefix, key), body, crc64nvme=checksum)
        stored = await self._hedge.send(size_of(body), put)
        self._sent(size_of(body))
        return stored

    async def _body(self, source: Source, offset: int, length: int, *, torn: bool) -> tuple[Body, int | None]:
        """Return a run of a file as a body. One that changes is read before: what is sent twice must be the same."""
        if torn:
            return await self._run(partial(source.read, offset, length))
        return source.flow(offset, length), None

    async def send(self, transfer: Transfer, number: int) -> Part:
        """Store one part, read while it is sent.

        Raises SourceChanged when the file is not what it was when its upload began (a transfer that is `torn` anyway
        goes on), UploadMissing when the store dropped the upload, OSError.
        """
        if (stored := await self._unchanged(transfer, number)) is not None:
            await self._check(transfer)
            return stored
        body, checksum = await self._body(transfer.source, *transfer.span(number), torn=transfer.torn)
        key = full(self._prefix, transfer.key)
        put = partial(self._store.put_part, key, transfer.upload, number, body, crc64nvme=checksum)
        part = await self._hedge.send(size_of(body), put)
        self._sent(part.size)
        await self._check(transfer)
        self._receipts.part(transfer.upload, part)
        await self.write_receipts()
        return part

    async def _check(self, transfer: Transfer) -> None:
        if not transfer.torn:
            await self._run(transfer.source.check)

    async def _unchanged(self, transfer: Transfer, number: int) -> Part | None:
        """Return a part that is stored already, if the file has just these bytes."""
        if (expected := transfer.expected(number)) is None:
            return None
        checksum = await self._run(partial(transfer.source.checksum, *transfer.span(number)))
        return expected if expected.crc64nvme == checksum else None

    async def complete(self, transfer: Transfer, path: bytes) -> Entry:
        """Make the object out of its parts. Raises UploadMissing when the store dropped the upload."""
        checksum = transfer.crc64nvme
        key = full(self._prefix, transfer.key)
        await self._store.complete(key, transfer.upload, transfer.parts, crc64nvme=checksum)
        source = transfer.source
        ref = ObjectRef(key=transfer.key, offset=0, length=source.length, crc64nvme=checksum)
        return self._done(transfer.job, path, source, ref, torn=transfer.torn, settled=transfer.settled)

    async def write_receipts(self) -> None:
        await self._receipts.flush(self._executor)

    async def abort(self, transfer: Transfer) -> None:
        """Drop an upload that came to nothing. Raises StoreDenied where only the bucket's own rule may."""
        await self._store.abort(full(self._prefix, transfer.key), transfer.upload)

    async def _run(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._executor, work)

    def _transfer(
        self, job: Job, source: Source, receipt: UploadReceipt, known: Iterable[Part], *, settled: bool
    ) -> Transfer:
        known = list(known)
        return Transfer(
            job=job,
            source=source,
            key=receipt.key,
            upload=receipt.upload,
            part_size=receipt.part_size,
            streams=self._streams,
            stored=known if receipt.settled else [],
            expected=known,
            settled=settled,
        )

    def _done(self, job: Job, path: bytes, found: Source, ref: ObjectRef | None, *, torn: bool, settled: bool) -> Entry:
        entry = entry_of(job, found, ref=ref, torn=torn, settled=settled)
        self.refer(path, entry)
        return entry


def entry_of(job: Job, found: Source, *, ref: ObjectRef | None, torn: bool, settled: bool) -> Entry:
    """Return the entry of a file as it was when read, which may be another inode than the walk saw."""
    return replace(
        job.entry,
        stat=found.stat,
        ref=ref,
        xattrs=found.xattrs,
        extents=found.extents,
        torn=torn,
        unsettled=not settled,
        link=job.entry.link if found.stat.inode == job.entry.stat.inode else "",
    )


def resumable(stored: Sequence[Part], receipt: UploadReceipt) -> list[Part]:
    """Return the parts that need not be sent again, with their checksums.

    A part counts when the store has what the receipt says; one whose receipt was lost with the process counts when the
    store itself tells its checksum.
    """
    found = []
    for part in stored:
        noted = receipt.parts.get(part.number)
        if noted is None:
            found += [part] if part.crc64nvme else []
        elif (noted.etag, noted.size) == (part.etag, part.size) and part.crc64nvme in {0, noted.crc64nvme}:
            found.append(noted)
    return found


def _is_unchanged(source: Source) -> bool:
    try:
        source.check()
    except SourceChanged:
        return False
    return True
