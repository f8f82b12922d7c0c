"""An object store that tries again, for ever: the caller owns the deadline and cancels.

Decorates any store, with the same contract but for what a lost reply does: the store may have done what it could not
say it did.

- `put` with `if_absent`: ObjectExists after a failure may be our own object. The caller reads it back and compares.
- `complete`: UploadMissing after a failure is looked into here, and is no error when the object is there, whole.
- `begin`: a reply lost leaves an upload behind, for the bucket's lifecycle rule to remove.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import TypeVar

from agent.chance import Chance
from agent.errors import TransientError
from agent.store.base import Body, ObjectMissing, ObjectStore, Part, Stored, Take, UploadId, UploadMissing

T = TypeVar("T")


def pause(failures: int, fraction: float, *, first: float, longest: float) -> float:
    """Return how many seconds to wait after so many failures in a row: doubled each time, then any share of that."""
    # 2 ** 60 is past every `longest`; without the bound a call that fails for hours would overflow.
    return fraction * min(longest, first * 2.0 ** min(failures - 1, 60))


class Retrying:
    """`waiting` hears what goes wrong from a call's first failure on, and "" when no call is in trouble any more."""

    def __init__(
        self,
        store: ObjectStore,
        chance: Chance,
        waiting: Callable[[str], None],
        *,
        first: float = 0.2,
        longest: float = 5.0,
    ) -> None:
        self._store = store
        self._chance = chance
        self._waiting = waiting
        self._first = first
        self._longest = longest
        self._troubled = 0
        self.retries = 0

    async def put(self, key: str, body: Body, *, crc64nvme: int | None = None, if_absent: bool = False) -> int:
        return await self._persist(lambda: self._store.put(key, body, crc64nvme=crc64nvme, if_absent=if_absent))

    async def copy(self, source: str, key: str, *, size: int, crc64nvme: int) -> None:
        await self._persist(lambda: self._store.copy(source, key, size=size, crc64nvme=crc64nvme))

    async def begin(self, key: str) -> UploadId:
        return await self._persist(lambda: self._store.begin(key))

    async def put_part(
        self, key: str, upload: UploadId, number: int, body: Body, *, crc64nvme: int | None = None
    ) -> Part:
        return await self._persist(lambda: self._store.put_part(key, upload, number, body, crc64nvme=crc64nvme))

    async def parts(self, key: str, upload: UploadId) -> Sequence[Part]:
        return await self._persist(lambda: self._store.parts(key, upload))

    async def complete(self, key: str, upload: UploadId, parts: Sequence[Part], *, crc64nvme: int) -> None:
        tries = 0

        async def once() -> None:
            nonlocal tries
            tries += 1
            try:
                await self._store.complete(key, upload, parts, crc64nvme=crc64nvme)
            except UploadMissing:
                if tries == 1 or not await self._is_stored(key, parts, crc64nvme):
                    raise

        await self._persist(once)

    async def abort(self, key: str, upload: UploadId) -> None:
        await self._persist(lambda: self._store.abort(key, upload))

    async def get(self, key: str, *, offset: int = 0, length: int | None = None) -> bytes:
        return await self._persist(lambda: self._store.get(key, offset=offset, length=length))

    async def fetch(self, key: str, take: Take, *, offset: int, length: int) -> None:
        """Go on, at each try, where the last one stopped."""
        taken = 0

        def counting(piece: memoryview) -> None:
            nonlocal taken
            take(piece)
            taken += len(piece)

        async def rest() -> None:
            if taken < length or not length:
                await self._store.fetch(key, counting, offset=offset + taken, length=length - taken)

        await self._persist(rest)

    async def head(self, key: str) -> Stored:
        return await self._persist(lambda: self._store.head(key))

    async def list(self, prefix: str) -> AsyncIterator[Stored]:
        """Yield each object once. A listing that breaks off is begun again: it has no order to go on from."""
        seen: set[str] = set()
        listing = aiter(self._store.list(prefix))

        async def following() -> Stored | None:
            nonlocal listing
            try:
                return await anext(listing, None)
            except TransientError:
                listing = aiter(self._store.list(prefix))
                raise

        while (found := await self._persist(following)) is not None:
            if found.key not in seen:
                seen.add(found.key)
                yield found

    async def _is_stored(self, key: str, parts: Sequence[Part], crc64nvme: int) -> bool:
        try:
            stored = await self._store.head(key)
        except ObjectMissing:
            return False
        return stored.size == sum(part.size for part in parts) and stored.crc64nvme in {None, crc64nvme}

    async def _persist(self, call: Callable[[], Awaitable[T]]) -> T:
        """Return what `call` returns at last. Raises what is permanent."""
        failures = 0
        try:
            while True:
                try:
                    return await call()
                except TransientError as error:
                    failures += 1
                    self._trouble(error, is_first=failures == 1)
                await asyncio.sleep(pause(failures, self._chance.fraction(), first=self._first, longest=self._longest))
        finally:
            if failures:
                self._recover()

    def _trouble(self, error: TransientError, *, is_first: bool) -> None:
        self.retries += 1
        self._troubled += is_first
        self._waiting(str(error))

    def _recover(self) -> None:
        self._troubled -= 1
        if not self._troubled:
            self._waiting("")
