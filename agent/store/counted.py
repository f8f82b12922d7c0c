"""An object store that counts: requests by operation and outcome, bytes each way, seconds."""

import asyncio
import contextlib
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from enum import StrEnum

from agent.store.base import (
    Body,
    BodyRefused,
    ObjectExists,
    ObjectMissing,
    ObjectStore,
    Part,
    Stored,
    StoreDenied,
    StoreUnavailable,
    Take,
    UploadId,
    UploadMissing,
    size_of,
)


class Operation(StrEnum):
    """What is asked of a store. `list` counts whole listings, not pages; `get` fetches, too."""

    PUT = "put"
    COPY = "copy"
    BEGIN = "begin"
    PUT_PART = "put_part"
    PARTS = "parts"
    COMPLETE = "complete"
    ABORT = "abort"
    GET = "get"
    HEAD = "head"
    LIST = "list"


class Outcome(StrEnum):
    """How a request ended. OTHER is an error outside the contract, or a request cut off by its caller."""

    OK = "ok"
    UNAVAILABLE = "unavailable"
    DENIED = "denied"
    MISSING = "missing"
    EXISTS = "exists"
    REFUSED = "refused"
    UPLOAD_MISSING = "upload_missing"
    OTHER = "other"


_OUTCOMES: Mapping[type[BaseException], Outcome] = {
    StoreUnavailable: Outcome.UNAVAILABLE,
    StoreDenied: Outcome.DENIED,
    ObjectMissing: Outcome.MISSING,
    ObjectExists: Outcome.EXISTS,
    BodyRefused: Outcome.REFUSED,
    UploadMissing: Outcome.UPLOAD_MISSING,
}


class Counted:
    """Put it inside `Retrying` and every try counts. `bytes_up` are those of bodies that the store acknowledged."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        self._requests: defaultdict[Operation, Counter[Outcome]] = defaultdict(Counter)
        self._seconds: defaultdict[Operation, float] = defaultdict(float)
        self._bytes_up = 0
        self._bytes_down = 0

    def snapshot(self) -> Mapping[str, object]:
        """Return the counts since the start, fit for JSON; every operation and outcome is there, used or not.

        `{"requests": {"put": {"ok": 2, ...}, ...}, "seconds": {"put": 0.31, ...}, "bytes_up": 20, "bytes_down": 0}`
        """
        return {
            "requests": {op.value: {end.value: self._requests[op][end] for end in Outcome} for op in Operation},
            "seconds": {op.value: self._seconds[op] for op in Operation},
            "bytes_up": self._bytes_up,
            "bytes_down": self._bytes_down,
        }

    async def put(self, key: str, body: Body, *, crc64nvme: int | None = None, if_absent: bool = False) -> int:
        with self._counting(Operation.PUT):
            checksum = await self._store.put(key, body, crc64nvme=crc64nvme, if_absent=if_absent)
        self._bytes_up += size_of(body)
        return checksum

    async def copy(self, source: str, key: str, *, size: int, crc64nvme: int) -> None:
        with self._counting(Operation.COPY):
            await self._store.copy(source, key, size=size, crc64nvme=crc64nvme)

    async def begin(self, key: str) -> UploadId:
        with self._counting(Operation.BEGIN):
            return await self._store.begin(key)

    async def put_part(
        self, key: str, upload: UploadId, number: int, body: Body, *, crc64nvme: int | None = None
    ) -> Part:
        with self._counting(Operation.PUT_PART):
            part = await self._store.put_part(key, upload, number, body, crc64nvme=crc64nvme)
        self._bytes_up += part.size
        return part

    async def parts(self, key: str, upload: UploadId) -> Sequence[Part]:
        with self._counting(Operation.PARTS):
            return await self._store.parts(key, upload)

    async def complete(self, key: str, upload: UploadId, parts: Sequence[Part], *, crc64nvme: int) -> None:
        with self._counting(Operation.COMPLETE):
            await self._store.complete(key, upload, parts, crc64nvme=crc64nvme)

    async def abort(self, key: str, upload: UploadId) -> None:
        with self._counting(Operation.ABORT):
            await self._store.abort(key, upload)

    async def get(self, key: str, *, offset: int = 0, length: int | None = None) -> bytes:
        with self._counting(Operation.GET):
            data = await self._store.get(key, offset=offset, length=length)
        self._bytes_down += len(data)
        return data

    async def fetch(self, key: str, take: Take, *, offset: int, length: int) -> None:
        with self._counting(Operation.GET):
            await self._store.fetch(key, take, offset=offset, length=length)
        self._bytes_down += length

    async def head(self, key: str) -> Stored:
        with self._counting(Operation.HEAD):
            return await self._store.head(key)

    async def list(self, prefix: str) -> AsyncIterator[Stored]:
        with self._counting(Operation.LIST):
            async for found in self._store.list(prefix):
                yield found

    @contextlib.contextmanager
    def _counting(self, operation: Operation) -> Iterator[None]:
        now = asyncio.get_running_loop().time
        began, outcome = now(), Outcome.OTHER
        try:
            yield
            outcome = Outcome.OK
        except tuple(_OUTCOMES) as error:
            outcome = _OUTCOMES[type(error)]
            raise
        finally:
            self._requests[operation][outcome] += 1
            self._seconds[operation] += now() - began
