"""An object store that sends no faster than it may: for copies that have time, never for a rescue."""

import asyncio
from collections.abc import AsyncIterator, Sequence

from agent.store.base import Body, ObjectStore, Part, Stored, Take, UploadId, size_of


class Limited:
    """Sends bodies at `bytes_per_second` on average, each at full speed; everything else goes through at once."""

    def __init__(self, store: ObjectStore, *, bytes_per_second: float) -> None:
        self._store = store
        self._bytes_per_second = bytes_per_second
        self._free_at = float("-inf")

    async def put(self, key: str, body: Body, *, crc64nvme: int | None = None, if_absent: bool = False) -> int:
        await self._wait_for(body)
        return await self._store.put(key, body, crc64nvme=crc64nvme, if_absent=if_absent)

    async def copy(self, source: str, key: str, *, size: int, crc64nvme: int) -> None:
        await self._store.copy(source, key, size=size, crc64nvme=crc64nvme)

    async def begin(self, key: str) -> UploadId:
        return await self._store.begin(key)

    async def put_part(
        self, key: str, upload: UploadId, number: int, body: Body, *, crc64nvme: int | None = None
    ) -> Part:
        await self._wait_for(body)
        return await self._store.put_part(key, upload, number, body, crc64nvme=crc64nvme)

    async def parts(self, key: str, upload: UploadId) -> Sequence[Part]:
        return await self._store.parts(key, upload)

    async def complete(self, key: str, upload: UploadId, parts: Sequence[Part], *, crc64nvme: int) -> None:
        await self._store.complete(key, upload, parts, crc64nvme=crc64nvme)

    async def abort(self, key: str, upload: UploadId) -> None:
        await self._store.abort(key, upload)

    async def get(self, key: str, *, offset: int = 0, length: int | None = None) -> bytes:
        return await self._store.get(key, offset=offset, length=length)

    async def fetch(self, key: str, take: Take, *, offset: int, length: int) -> None:
        await self._store.fetch(key, take, offset=offset, length=length)

    async def head(self, key: str) -> Stored:
        return await self._store.head(key)

    async def list(self, prefix: str) -> AsyncIterator[Stored]:
        async for found in self._store.list(prefix):
            yield found

    async def _wait_for(self, body: Body) -> None:
        """Wait until what was sent before has had its time; `body` takes its own from then on."""
        now = asyncio.get_running_loop().time()
        turn = max(now, self._free_at)
        self._free_at = turn + size_of(body) / self._bytes_per_second
        await asyncio.sleep(turn - now)
