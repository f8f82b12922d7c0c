"""Segments and heads: what makes stored bytes a checkpoint, in steps of which each is complete in itself (P2, P3).

The segment of what is new is put first, then a head that names it, under a key that nobody wrote. Being cancelled
anywhere is no harm: what is in no acknowledged segment goes into the next one.
"""

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import suppress
from dataclasses import replace
from functools import partial
from itertools import count
from typing import TypeVar

from agent.checkpoint import head as heads
from agent.checkpoint import segment as segments
from agent.checkpoint.base import Base, Layer
from agent.checkpoint.cache import Cache
from agent.checkpoint.counts import at_least
from agent.checkpoint.format import FormatInvalid
from agent.checkpoint.keys import HeadKey, full, head_key, segment_key
from agent.checkpoint.ledger import Ledger, Line, Standing, directories_of
from agent.checkpoint.merge import merge
from agent.checkpoint.packed import Packed, compacted, pack
from agent.checkpoint.receipts import Receipts
from agent.checkpoint.together import bounded
from agent.checksum import crc64nvme
from agent.clock import Clock, parse_stamp, stamp
from agent.errors import PermanentError
from agent.model.checkpoint import Commit, Head, SegmentRef
from agent.scratch.walk import join
from agent.store.base import ObjectExists, ObjectStore

MOST_SEGMENTS = 64
"""More of one life are merged: readers refuse a head that names a thousand. A Spot rescue stays below it."""

KEEP_SECONDS = 5.0
"""A disk of our own that takes longer is given up."""

HELD_BACK = "the earlier checkpoint stands; give the role s3:GetObject, or run the version that wrote it"

T = TypeVar("T")


class HeadHeldBack(PermanentError):
    """A head could take from the checkpoint what an earlier one holds."""


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
        cache: Cache | None,
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
        self._cache = cache
        self._executor = executor
        self._clock = clock
        self._numbers = count(1)
        self._base: tuple[SegmentRef, ...] = ()
        self._below: Head | None = None
        self._is_held_back = False
        self._segments: list[SegmentRef] = []
        self._fresh: list[tuple[SegmentRef, Layer]] = []
        self._last: Commit | None = None
        self._committing = asyncio.Lock()

    def build_on(self, base: Base) -> None:
        """Name the segments of `base` below those of this life."""
        self._base = base.head.segments

    def keep_below(self, earlier: Head) -> None:
        """Name the segments of an earlier head of the checkpoint that this life does not build on.

        They go once the heads of this life hold all there is: until then one may hold too much (what was removed or
        became something else since), never too little.
        """
        self._below = earlier

    def hold_back(self) -> None:
        """Put no head before it holds all there is: nobody here can tell what an earlier one names."""
        self._is_held_back = True

    def may_say(self, standing: Standing) -> bool:
        return standing.complete or not self._is_held_back

    async def compact(self, base: Base) -> None:
        """Put one segment in the place of those of `base`, and name that from the next commit on."""
        self._base = (await self._put_segment(partial(compacted, base)),)

    async def commit(self, ledger: Ledger, *, on_the_way: bool = False) -> Commit:
        """Commit what is stored; return the head that says so, the last one when nothing changed since.

        What the base holds and this life has not stored anew stays restorable (P3). `on_the_way`: another commit comes
        after it, and takes what can wait (`Ledger.take`).
        """
        async with self._committing:
            lines = ledger.take(on_the_way=on_the_way)
            standing = ledger.standing()
            if lines:
                await self._put_lines(ledger, lines)
            if not self.may_say(standing):
                subject = f"head of {self._like.checkpoint}"
                raise HeadHeldBack("put", subject, "an earlier one can't be read and may hold more", hint=HELD_BACK)
            head = replace(
                self._like,
                n=self._receipts.highest_head + 1,
                created_at=parse_stamp(stamp(self._clock.now())),  # as a reader has it
                left=standing.left,
                complete=standing.complete,
                jobs=tuple(_with_files(job, standing) for job in self._like.jobs),
            )
            head = self._naming(head, standing)
            if self._last is None or not _says_the_same(self._last.head, head):
                self._last = await self._put_head(head, standing)
                self._committed(self._last)
                await self._keep(self._last)
            return self._last

    async def _put_lines(self, ledger: Ledger, lines: list[Line]) -> None:
        """Put a segment of what is new; the ledger has it again when that fails."""
        is_stored = False
        try:
            self._segments.append(await self._put_segment(lambda: pack(directories_of(lines))))
            self._receipts.in_segment(_paths(self._like.roots, lines))
            is_stored = True
        finally:
            if not is_stored:
                ledger.give_back(lines)

    async def _put_segment(self, make: Callable[[], Packed]) -> SegmentRef:
        packed = await self._run(make)
        key = segment_key(writer=self._like.writer, pass_id=self._pass_id, n=next(self._numbers))
        await self._store.put(full(self._prefix, key), packed.body, crc64nvme=packed.crc64nvme)
        ref = packed.ref(key)
        self._fresh.append((ref, packed.layer))
        return ref

    async def _keep(self, commit: Commit) -> None:
        """Write down on this node what the store has acknowledged; without, the next pass has to fetch it."""
        fresh = [each for each in self._fresh if each[0] in commit.head.segments]
        later = {*self._base, *self._segments}.difference(commit.head.segments)
        self._fresh = [each for each in self._fresh if each[0] in later]
        if self._cache is not None:
            try:
                await bounded(self._executor, partial(self._cache.keep, commit, fresh), KEEP_SECONDS)
            except TimeoutError:
                self._cache = None
        await self._receipts.rotate(self._executor)

    def _naming(self, head: Head, standing: Standing) -> Head:
        """Return the head with its segments, and what they hold."""
        if head.complete:
            self._below = None
        below = self._below
        if below is None:
            return replace(head, segments=(*self._base, *self._segments), totals=standing.totals)
        return replace(
            head, segments=(*below.segments, *self._segments), totals=at_least(standing.totals, below.totals)
        )

    async def _put_head(self, head: Head, standing: Standing) -> Commit:
        while True:
            body = heads.encode(head)
            digest = heads.digest(body)
            key = head_key(_name(head))
            self._receipts.head(n=head.n, key=key, digest=digest, body=body)
            await self._receipts.flush(self._executor)
            other = await self._put_once(full(self._prefix, key), body)
            if other is None:
                self._receipts.committed(head.n)
                return Commit(head=head, key=key, digest=digest)
            with suppress(FormatInvalid):  # of another life, of which the receipts were lost
                self.keep_below(heads.decode(other, key=key))
            head = self._naming(replace(head, n=head.n + 1), standing)

    async def _put_once(self, key: str, body: bytes) -> bytes | None:
        """Return what else stands at `key`: a put whose reply was lost is refused when it is repeated."""
        try:
            await self._store.put(key, body, crc64nvme=crc64nvme(body), if_absent=True)
        except ObjectExists:
            found = await self._store.get(key)
            return None if found == body else found
        return None

    @property
    def are_many(self) -> bool:
        """There are so many segments that some should be merged."""
        return len(self._segments) > MOST_SEGMENTS

    async def merge_smallest(self) -> None:
        """Put one segment in the place of neighbours, half of all: those that are smallest together.

        Neighbours, because a name that is gone hides what older segments say of it, and only that. It takes seconds:
        commits go on meanwhile, and name it from the next one on.
        """
        half = len(self._segments) // 2
        start = min(range(half), key=lambda at: sum(ref.size for ref in self._segments[at : at + half]))
        chosen = self._segments[start : start + half]
        bodies = [await self._store.get(full(self._prefix, ref.key)) for ref in chosen]
        read = [segments.decode(body, key=ref.key) for ref, body in zip(chosen, bodies, strict=True)]
        merged = await self._put_segment(lambda: pack(merge(read, keep_gone=True)))
        self._segments[start : start + half] = [merged]

    async def _run(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._executor, work)


def _with_files(job: Mapping[str, object], standing: Standing) -> Mapping[str, object]:
    """Return what a head says of a job: its files are all there when those of all jobs are."""
    return {**job, "complete": standing.complete, "torn": standing.totals.torn}


def _says_the_same(one: Head, other: Head) -> bool:
    return replace(other, n=one.n, created_at=one.created_at) == one


def _name(head: Head) -> HeadKey:
    return HeadKey(cluster=head.cluster, node=head.node, writer=head.writer, checkpoint=head.checkpoint, n=head.n)


def _paths(roots: Sequence[bytes], lines: Iterable[Line]) -> Iterator[bytes]:
    for line in lines:
        above = join(roots[line.home.root], line.home.path)
        yield from (join(above, entry.name) for entry in line.entries)
