"""A store that fails at numbered calls: before the call took effect, or after it did and only the reply was lost."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from agent.store.base import Body, ObjectStore, Part, Stored, Take, UploadId

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    error: Exception
    after: bool = False


class FlakyStore:
    """Calls are numbered from 1, whatever the method; `calls` says what they were: "put a/b". A listing is one call."""

    def __init__(self, store: ObjectStore, failures: Mapping[int, Failure] | None = None) -> None:
        self._store = store
        self.failures = dict(failures or {})
        self.calls: list[str] = []

    async def put(self, key: str, body: Body, *, crc64nvme: int | None = None, if_absent: bool = False) -> int:
        return await self._call(
            "put", key, lambda: self._store.put(key, body, crc64nvme=crc64nvme, if_absent=if_absent)
        )

    async def copy(self, source: str, key: str, *, size: int, crc64nvme: int) -> None:
        await self._call("copy", key, lambda: self._store.copy(source, key, size=size, crc64nvme=crc64nvme))

    async def begin(self, key: str) -> UploadId:
        return await self._call("begin", key, lambda: self._store.begin(key))

    async def put_part(
        self, key: str, upload: UploadId, number: int, body: Body, *, crc64nvme: int | None = None
    ) -> Part:
        return await self._call(
            "put_part", key, lambda: self._store.put_part(key, upload, number, body, crc64nvme=crc64nvme)
        )

    async def parts(self, key: str, upload: UploadId) -> Sequence[Part]:
        return await self._call("parts", key, lambda: self._store.parts(key, upload))

    async def complete(self, key: str, upload: UploadId, parts: Sequence[Part], *, crc64nvme: int) -> None:
        await self._call("complete", key, lambda: self._store.complete(key, upload, parts, crc64nvme=crc64nvme))

    async def abort(self, key: str, upload: UploadId) -> None:
        await self._call("abort", key, lambda: self._store.abort(key, upload))

    async def get(self, key: str, *, offset: int = 0, length: int | None = None) -> bytes:
        return await self._call("get", key, lambda: self._store.get(key, offset=offset, length=length))

    async def fetch(self, key: str, take: Take, *, offset: int, length: int) -> None:
        await self._call("fetch", key, lambda: self._store.fetch(key, take, offset=offset, length=length))

    async def head(self, key: str) -> Stored:
        return await self._call("head", key, lambda: self._store.head(key))

    async def list(self, prefix: str) -> AsyncIterator[Stored]:
        failure = self._next("list", prefix)
        if failure and not failure.after:
            raise failure.error
        async for found in self._store.list(prefix):
            yield found
        if failure:
            raise failure.error

    async def _call(self, name: str, key: str, call: Callable[[], Awaitable[T]]) -> T:
        failure = self._next(name, key)
        if failure and not failure.after:
            raise failure.error
        result = await call()
        if failure:
            raise failure.error
        return result

    def _next(self, name: str, key: str) -> Failure | None:
        self.calls.append(f"{name} {key}")
        return self.failures.get(len(self.calls))
