"""Bytes that are stored for longer than a head may refer to, of files that did not change: the store copies them.

Nothing of them is read or sent. An object that holds one file is copied for it, a pack once for all files in it, where
enough of it is still of use. What can't be copied is read and sent like any other file.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from dataclasses import replace
from functools import partial
from typing import Final

from agent.checkpoint.base import Base
from agent.checkpoint.keys import full, is_pack_key
from agent.checkpoint.ledger import Job
from agent.checkpoint.outline import Outline, pass_of
from agent.checkpoint.pack import BLOCK, padded
from agent.errors import PermanentError
from agent.model.checkpoint import Entry, ObjectRef
from agent.store.base import MOST_COPIED, ObjectStore

SHARE: Final = 0.5
"""Of a pack that has to be of use: what is not is stored, and paid for, once more with it."""


def is_worth_a_copy(*, size: int, used: int) -> bool:
    """Return whether to copy an object of `size` bytes, `used` of which are referred to."""
    return size <= MOST_COPIED and used >= SHARE * size


def usage(base: Base, *, since: str) -> Mapping[str, int]:
    """Return how many bytes of each pack that a pass before `since` made a base refers to. Blocking."""
    used: Counter[str] = Counter()
    for folder in base.folders():
        while (line := folder.line) is not None and _is_young(line.outline, since):
            folder.pass_over()
        for directory in folder.lines():
            for ref in (entry.ref for entry in directory.entries):
                if ref is not None and is_pack_key(ref.key) and pass_of(ref.key) < since:
                    used[ref.key] += BLOCK + padded(ref.length)
    return used


class Refresh:
    """`since` as for a Comparison. `new_pack_key` and `new_key` give keys of this pass."""

    def __init__(
        self,
        *,
        store: ObjectStore,
        prefix: str,
        since: str,
        executor: Executor,
        new_pack_key: Callable[[], str],
        new_key: Callable[[Job], str],
    ) -> None:
        self.trouble = ""
        """Why the first object could not be copied that should have been; empty when all were."""
        self._store = store
        self._prefix = prefix
        self._since = since
        self._executor = executor
        self._new_pack_key = new_pack_key
        self._new_key = new_key
        self._base: Base | None = None
        self._used: Mapping[str, int] | None = None
        self._counting = asyncio.Lock()
        self._packs: dict[str, str] = {}
        self._copying: dict[str, asyncio.Lock] = {}

    def build_on(self, base: Base) -> None:
        self._base = base

    async def entry(self, job: Job) -> Entry | None:
        """Return the entry of a file that did not change, with its bytes where they were copied to.

        None when it has to be read, and sent: it is not known to be the same, or its bytes can't be copied.
        """
        row = job.before
        if row is None or row.ref is None or not job.old or not job.same or row.unsettled:
            return None
        key = await (self._pack(row.ref) if is_pack_key(row.ref.key) else self._single(job, row.ref))
        if not key:
            return None
        return replace(job.entry, xattrs=row.xattrs, extents=row.extents, ref=replace(row.ref, key=key))

    async def _single(self, job: Job, ref: ObjectRef) -> str:
        """Copy the object of one file; return its new key, "" when that can't be done."""
        if not is_worth_a_copy(size=ref.length, used=ref.length):
            return ""
        return await self._copy(ref.key, self._new_key(job), size=ref.length, crc64nvme=ref.crc64nvme)

    async def _pack(self, ref: ObjectRef) -> str:
        """Copy a pack, for the first file of it; return its new key, "" when it is not to be copied."""
        async with self._copying.setdefault(ref.key, asyncio.Lock()):
            if ref.key not in self._packs:
                self._packs[ref.key] = await self._copy_pack(ref.key)
        return self._packs[ref.key]

    async def _copy_pack(self, source: str) -> str:
        used = (await self._usage()).get(source, 0)
        try:
            stored = await self._store.head(full(self._prefix, source))
        except PermanentError as error:
            return self._failed(error)
        if stored.crc64nvme is None or not is_worth_a_copy(size=stored.size, used=used):
            return ""
        return await self._copy(source, self._new_pack_key(), size=stored.size, crc64nvme=stored.crc64nvme)

    async def _copy(self, source: str, key: str, *, size: int, crc64nvme: int) -> str:
        try:
            place = full(self._prefix, source), full(self._prefix, key)
            await self._store.copy(*place, size=size, crc64nvme=crc64nvme)
        except PermanentError as error:
            return self._failed(error)
        return key

    def _failed(self, error: PermanentError) -> str:
        self.trouble = self.trouble or f"{error} (its files, and others like them, are read and sent)"
        return ""

    async def _usage(self) -> Mapping[str, int]:
        async with self._counting:
            if self._used is None:
                assert self._base is not None, "what is old is in a base"
                count = partial(usage, self._base, since=self._since)
                self._used = await asyncio.get_running_loop().run_in_executor(self._executor, count)
        return self._used


def _is_young(outline: Outline, since: str) -> bool:
    """Return whether a line need not be read: it refers to nothing old, and hides nothing."""
    return bool(outline.fingerprint) and (not outline.oldest or outline.oldest >= since)
