"""Segments and heads: what makes stored bytes a checkpoint, in steps of which each is complete in itself (P2, P3).

The segment of what is new is put first, then a head that names it, under a key that nobody wrote. Being cancelled
anywhere is no harm: what is in no acknowledged segment goes into the next one.
"""

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from hashlib import sha256
from itertools import count

from agent.checkpoint import head as heads
from agent.checkpoint import segment as segments
from agent.checkpoint.keys import HeadKey, full, head_key, segment_key
from agent.checkpoint.ledger import Ledger, Line, Standing, directories_of
from agent.checkpoint.merge import merge
from agent.checkpoint.receipts import Receipts
from agent.checksum import crc64nvme
from agent.clock import Clock, parse_stamp, stamp
from agent.errors import PermanentError
from agent.model.checkpoint import Commit, Directory, Head, SegmentRef
from agent.store.base import ObjectExists, ObjectMissing, ObjectStore

MOST_SEGMENTS = 64
"""More of one life are merged: readers refuse a head that names very many. A Spot rescue stays below it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Packed:
    """A segment before it is stored."""

    body: bytes
    crc64nvme: int
    sha256: str
    directories: int
    entries: int


class Commits:
    """The commits of one life of a copier. `like` is a head with all that stays the same from one to the next."""

    def __init__(
        self,
        *,
        store: ObjectStore,
        prefix: str,
        pass_id: str,
        like: Head,
        receipts: Receipts,
        executor: Executor,
        clock: Clock,
        committed: Callable[[Commit], None],
    ) -> None:
        self._committed = committed
        self._store = store
        self._prefix = prefix
        self._pass_id = pass_id
        self._like = like
        self._receipts = receipts
        self._executor = executor
        self._clock = clock
        self._numbers = count(1)
        self._segments: list[SegmentRef] = []
        self._base: tuple[SegmentRef, ...] | None = None
        self.trouble = ""
        """Why what an earlier life committed can't be built on; empty when it can, or when there was none."""
        self._last: Commit | None = None
        self._committing = asyncio.Lock()

    async def commit(self, ledger: Ledger) -> Commit:
        """Commit what is stored; return the head that says so, the last one when nothing changed since.

        Until everything is settled, the segments of this checkpoint's earlier lives stand below those of this one: what
        they hold and this life has not met yet stays restorable (P3).
        """
        async with self._committing:
            base = await self._earlier()
            standing, is_settled, lines = ledger.standing(), ledger.is_settled, ledger.take()
            if lines:
                await self._put_lines(ledger, lines, over_older=bool(base))
            if not base and len(self._segments) > MOST_SEGMENTS:
                await self._merge_smallest()
            head = replace(
                self._like,
                n=self._receipts.highest_head + 1,
                created_at=parse_stamp(stamp(self._clock.now())),  # as a reader has it
                segments=(*(() if is_settled else base), *self._segments),
                totals=standing.totals,
                left=standing.left,
                complete=standing.complete,
                jobs=tuple(_with_files(job, standing) for job in self._like.jobs),
            )
            if self._last is None or not _says_the_same(self._last.head, head):
                self._last = await self._put_head(head)
                self._committed(self._last)
            return self._last

    async def _put_lines(self, ledger: Ledger, lines: list[Line], *, over_older: bool) -> None:
        """Put a segment of what is new; the ledger has it again when that fails."""
        is_stored = False
        try:
            self._segments.append(await self._put_segment(lambda: directories_of(lines, over_older=over_older)))
            is_stored = True
        finally:
            if not is_stored:
                ledger.give_back(lines)

    async def _put_segment(self, directories: Callable[[], Iterable[Directory]]) -> SegmentRef:
        packed = await self._run(lambda: _pack(directories()))
        key = segment_key(writer=self._like.writer, pass_id=self._pass_id, n=next(self._numbers))
        await self._store.put(full(self._prefix, key), packed.body, crc64nvme=packed.crc64nvme)
        return SegmentRef(
            key=key,
            size=len(packed.body),
            sha256=packed.sha256,
            directories=packed.directories,
            entries=packed.entries,
        )

    async def _put_head(self, head: Head) -> Commit:
        while True:
            body = heads.encode(head)
            digest = heads.digest(body)
            key = head_key(_name(head))
            self._receipts.head(n=head.n, key=key, digest=digest)
            await self._receipts.flush(self._executor)
            if await self._put_once(full(self._prefix, key), body):
                self._receipts.committed(head.n)
                return Commit(head=head, key=key, digest=digest)
            head = replace(head, n=head.n + 1)

    async def _put_once(self, key: str, body: bytes) -> bool:
        """Return whether `body` is what stands at `key`: a put whose reply was lost is refused when it is repeated."""
        try:
            await self._store.put(key, body, crc64nvme=crc64nvme(body), if_absent=True)
        except ObjectExists:
            return await self._store.get(key) == body
        return True

    async def _merge_smallest(self) -> None:
        """Put one segment in the place of the smaller half. The names of one life are disjoint: any order will do."""
        by_size = sorted(self._segments, key=lambda ref: ref.size)
        chosen = by_size[: len(by_size) // 2]
        bodies = [await self._store.get(full(self._prefix, ref.key)) for ref in chosen]
        merged = await self._put_segment(
            lambda: merge([segments.decode(body, key=ref.key) for ref, body in zip(chosen, bodies, strict=True)])
        )
        self._segments = [*(ref for ref in self._segments if ref not in chosen), merged]

    async def _earlier(self) -> tuple[SegmentRef, ...]:
        """Return the segments of the newest head that an earlier life of this copier put."""
        if self._base is None:
            self._base = await self._find_earlier()
        return self._base

    async def _find_earlier(self) -> tuple[SegmentRef, ...]:
        for key in self._receipts.earlier_heads:
            try:
                head = heads.decode(await self._store.get(full(self._prefix, key)), key=key)
            except ObjectMissing:
                continue
            except PermanentError as error:
                self.trouble = str(error)
                continue
            return head.segments if head.roots == self._like.roots else ()
        return ()

    async def _run(self, work: Callable[[], _Packed]) -> _Packed:
        return await asyncio.get_running_loop().run_in_executor(self._executor, work)


def _with_files(job: Mapping[str, object], standing: Standing) -> Mapping[str, object]:
    """Return what a head says of a job: its files are all there when those of all jobs are."""
    return {**job, "complete": standing.complete, "torn": standing.totals.torn}


def _says_the_same(one: Head, other: Head) -> bool:
    return replace(other, n=one.n, created_at=one.created_at) == one


def _name(head: Head) -> HeadKey:
    return HeadKey(cluster=head.cluster, node=head.node, writer=head.writer, checkpoint=head.checkpoint, n=head.n)


def _pack(directories: Iterable[Directory]) -> _Packed:
    counts = [0, 0]

    def counted() -> Iterator[Directory]:
        for directory in directories:
            counts[0] += not directory.run
            counts[1] += len(directory.entries)
            yield directory

    body = segments.encode(counted())
    return _Packed(
        body=body,
        crc64nvme=crc64nvme(body),
        sha256=sha256(body).hexdigest(),
        directories=counts[0],
        entries=counts[1],
    )
