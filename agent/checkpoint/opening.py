"""The base of a pass or a scan, made ready: the last head, its segments from this node's disk or from the store."""

import asyncio
from collections.abc import Sequence
from concurrent.futures import Executor
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

from agent.checkpoint import head as heads
from agent.checkpoint import segment as segments
from agent.checkpoint.adopted import Adopted
from agent.checkpoint.base import Base, Layer
from agent.checkpoint.cache import Cache
from agent.checkpoint.catalog import load_head, load_segment
from agent.checkpoint.format import FormatInvalid
from agent.checkpoint.outline import encode, outline_of
from agent.checkpoint.receipts import Receipts
from agent.checkpoint.together import blocking
from agent.clock import Clock
from agent.errors import IntegrityMismatch, PermanentError
from agent.model.checkpoint import Commit, Head, SegmentRef
from agent.store.base import ObjectMissing, ObjectStore

DAMAGED = (IntegrityMismatch, FormatInvalid, ObjectMissing)
"""Why nobody can read a segment any more."""
AHEAD: Final = timedelta(hours=1)
"""A head dated later than now by more was made by a clock that was wrong, and so was what it refers to: that would
count as young when the bucket's lifecycle rules end it."""


class Opening:
    """Where bases come from. `cache` is None where nothing is kept on the disk: then only this checkpoint's own heads
    are built on, and fetched.
    """

    def __init__(
        self, *, store: ObjectStore, prefix: str, cache: Cache | None, executor: Executor, clock: Clock
    ) -> None:
        self._store = store
        self._prefix = prefix
        self._cache = cache
        self._executor = executor
        self._clock = clock
        self.trouble = ""
        """Why what was committed before can't be built on; empty when it can, or when there was nothing."""
        self.unread: Head | None = None
        """The head that can't be built on, with those of its segments that are not known to be damaged."""
        self.is_blind = False
        """There is a head, and nobody here can tell what it names."""

    async def base(
        self, roots: tuple[bytes, ...], receipts: Receipts | None = None, *, since: datetime | None = None
    ) -> Base | None:
        """Return the newest head of these roots; one that `receipts` say was tried is newer than what the disk has.

        None when there is none made at `since` or later, or it can't be had: then everything has to be stored.
        """
        try:
            commit = await self._last(receipts)
        except PermanentError as error:
            self.trouble, self.is_blind = str(error), True
            return None
        if commit is None or commit.head.roots != roots or (since and commit.head.created_at < since):
            return None
        if commit.head.created_at > self._clock.now() + AHEAD:
            self.trouble, self.unread = _from_the_future(commit), commit.head
            return None
        layers = await asyncio.gather(*map(self._layer_or_why, commit.head.segments))
        whole = [layer for layer in layers if isinstance(layer, Layer)]
        if len(whole) == len(layers):
            return Base(commit=commit, layers=whole)
        wrong = next(layer for layer in layers if isinstance(layer, PermanentError))
        pairs = zip(commit.head.segments, layers, strict=True)
        named = tuple(ref for ref, layer in pairs if not isinstance(layer, DAMAGED))
        self.trouble, self.unread = str(wrong), replace(commit.head, segments=named)
        return None

    async def adopted(self, roots: tuple[bytes, ...]) -> Adopted:
        """Return what restores have put below these roots and no head may hold yet."""
        if self._cache is None:
            return Adopted()
        return await blocking(self._executor, self._cache.adoption.read, roots)

    async def rows(self, roots: tuple[bytes, ...], paths: Sequence[bytes], *, since: datetime | None) -> Adopted:
        """Return what the last head and restores hold of the directories at these complete paths.

        For a pass whose head is about nothing else: it can't be built on that head, and can refer to what it refers to.
        """
        base, adopted = await self.base(roots, since=since), await self.adopted(roots)
        if base is None:
            return Adopted(bodies=adopted.bodies)
        body = await blocking(self._executor, lambda: segments.encode(base.below(paths)))
        return Adopted(bodies=(body, *adopted.bodies))

    async def forget(self, adopted: Adopted) -> None:
        """A head holds all of it now."""
        if self._cache is not None and adopted.names:
            await blocking(self._executor, self._cache.adoption.forget, adopted.names)

    async def _last(self, receipts: Receipts | None) -> Commit | None:
        kept = None if self._cache is None else await blocking(self._executor, self._cache.last)
        for tried in receipts.earlier_heads if receipts else ():
            if kept is not None and kept.key == tried.key:
                break
            if tried.body:
                return Commit(head=heads.decode(tried.body, key=tried.key), key=tried.key, digest=tried.digest)
            with suppress(ObjectMissing):
                commit = await load_head(self._store, self._prefix, tried.key)
                if commit.digest == tried.digest:
                    return commit
        return kept

    async def _layer_or_why(self, ref: SegmentRef) -> Layer | PermanentError:
        try:
            return await self._layer(ref)
        except PermanentError as error:
            return error

    async def _layer(self, ref: SegmentRef) -> Layer:
        cache = self._cache
        if cache is not None and (layer := await blocking(self._executor, cache.layer, ref)) is not None:
            return layer
        body = await load_segment(self._store, self._prefix, ref, self._executor)
        layer = await blocking(self._executor, _outlined, body, ref.key)
        if cache is not None:
            await blocking(self._executor, cache.keep_segment, ref, layer)
        return layer


def _from_the_future(commit: Commit) -> str:
    made = commit.head.created_at.isoformat(timespec="seconds")
    return f"the last head is dated {made}, by a clock that was wrong then or is now; all is stored anew: {commit.key}"


def _outlined(body: bytes, key: str) -> Layer:
    return Layer(body=body, outlines=encode(map(outline_of, segments.decode(body, key=key))))
