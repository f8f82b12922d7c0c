"""An object store in memory, with the whole contract: for tests and simulation."""

import hashlib
import itertools
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from agent.checksum import crc64nvme as checksum
from agent.checksum import to_base64
from agent.clock import Clock, SystemClock
from agent.errors import IntegrityMismatch
from agent.store.base import (
    Body,
    BodyRefused,
    Flow,
    ObjectExists,
    ObjectMissing,
    Part,
    Stored,
    StoreDenied,
    Take,
    UploadId,
    UploadMissing,
    check_copy,
)
from agent.value import value

_PIECE = 256 * 1024
_MOST_PARTS = 10_000
_SMALLEST_PART = 5 * 1024 * 1024
"""S3's limits of a multipart upload (S3 User Guide, "Multipart upload limits")."""


@value
class _Object:
    data: bytes
    crc64nvme: int
    modified: datetime


@dataclass(slots=True, kw_only=True)
class _Upload:
    key: str
    parts: dict[int, tuple[Part, bytes]] = field(default_factory=dict)


class MemoryStore:
    """What S3 would do. `smallest_part` is lowered by tests that would rather not move megabytes."""

    def __init__(self, clock: Clock | None = None, *, smallest_part: int = _SMALLEST_PART) -> None:
        self._clock = clock or SystemClock()
        self._smallest_part = smallest_part
        self._objects: dict[str, _Object] = {}
        self._uploads: dict[UploadId, _Upload] = {}
        self._numbers = itertools.count(1)

    async def put(self, key: str, body: Body, *, crc64nvme: int | None = None, if_absent: bool = False) -> int:
        if if_absent and key in self._objects:
            raise ObjectExists("put", key, "there is an object already")
        data, found = _accepted("put", key, body, crc64nvme)
        self._store(key, data, found)
        return found

    async def copy(self, source: str, key: str, *, size: int, crc64nvme: int) -> None:
        found = await self.head(source)
        check_copy("copy", key, found, size=size, crc64nvme=crc64nvme)
        self._store(key, self._objects[source].data, crc64nvme)

    async def begin(self, key: str) -> UploadId:
        upload = UploadId(f"upload-{next(self._numbers)}")
        self._uploads[upload] = _Upload(key=key)
        return upload

    async def put_part(
        self, key: str, upload: UploadId, number: int, body: Body, *, crc64nvme: int | None = None
    ) -> Part:
        op = f"put part {number} of"
        begun = self._begun(op, key, upload)
        if not 1 <= number <= _MOST_PARTS:
            raise StoreDenied(op, key, f"parts are numbered from 1 to {_MOST_PARTS}")
        data, found = _accepted(op, key, body, crc64nvme)
        etag = hashlib.md5(data, usedforsecurity=False).hexdigest()
        part = Part(number=number, etag=etag, size=len(data), crc64nvme=found)
        begun.parts[number] = (part, data)
        return part

    async def parts(self, key: str, upload: UploadId) -> Sequence[Part]:
        begun = self._begun("list parts of", key, upload)
        return [begun.parts[number][0] for number in sorted(begun.parts)]

    async def complete(self, key: str, upload: UploadId, parts: Sequence[Part], *, crc64nvme: int) -> None:
        op = "complete upload of"
        begun = self._begun(op, key, upload)
        data = b"".join(self._chosen(op, begun, parts))
        if checksum(data) != crc64nvme:
            raise IntegrityMismatch(op, key, "its parts have another checksum")
        self._store(key, data, crc64nvme)
        del self._uploads[upload]

    async def abort(self, key: str, upload: UploadId) -> None:  # noqa: ARG002 - the upload says it all here
        self._uploads.pop(upload, None)

    async def get(self, key: str, *, offset: int = 0, length: int | None = None) -> bytes:
        data = self._found("get", key).data
        end = len(data) if length is None else offset + length
        if length != 0 and (end > len(data) or offset > max(0, len(data) - 1)):
            raise IntegrityMismatch("get", key, f"{len(data)} bytes, asked for {offset} to {end}")
        return data[offset:end]

    async def fetch(self, key: str, take: Take, *, offset: int, length: int) -> None:
        data = memoryview(await self.get(key, offset=offset, length=length))
        for start in range(0, length, _PIECE):
            take(data[start : start + _PIECE])

    async def head(self, key: str) -> Stored:
        found = self._found("head", key)
        return Stored(key=key, size=len(found.data), modified=found.modified, crc64nvme=found.crc64nvme)

    async def list(self, prefix: str) -> AsyncIterator[Stored]:
        for key, found in list(self._objects.items()):
            if key.startswith(prefix):
                yield Stored(key=key, size=len(found.data), modified=found.modified)

    def _store(self, key: str, data: bytes, crc64nvme: int) -> None:
        self._objects[key] = _Object(data=data, crc64nvme=crc64nvme, modified=self._clock.now())

    def _found(self, op: str, key: str) -> _Object:
        try:
            return self._objects[key]
        except KeyError as error:
            raise ObjectMissing(op, key, "no such object") from error

    def _begun(self, op: str, key: str, upload: UploadId) -> _Upload:
        begun = self._uploads.get(upload)
        if begun is None or begun.key != key:
            raise UploadMissing(op, key, f"no upload {upload}")
        return begun

    def _chosen(self, op: str, begun: _Upload, parts: Sequence[Part]) -> Sequence[bytes]:
        numbers = [part.number for part in parts]
        if not numbers or numbers != sorted(set(numbers)):
            raise UploadMissing(op, begun.key, "parts out of order or none")
        for part in parts:
            if part.number not in begun.parts or begun.parts[part.number][0].etag != part.etag:
                raise UploadMissing(op, begun.key, f"no part {part.number} with this etag")
        if any(part.size < self._smallest_part for part in parts[:-1]):
            raise StoreDenied(op, begun.key, f"a part below {self._smallest_part} bytes that is not the last")
        return [begun.parts[number][1] for number in numbers]


def _accepted(op: str, key: str, body: Body, crc64nvme: int | None) -> tuple[bytes, int]:
    data = body if isinstance(body, bytes | memoryview) else _read(body)
    found = checksum(data)
    if crc64nvme not in {None, found}:
        raise BodyRefused(op, key, f"computed {to_base64(found)}, another one was sent")
    return bytes(data), found


def _read(flow: Flow) -> memoryview:
    data = memoryview(bytearray(flow.size))
    for start in range(0, flow.size, _PIECE):
        flow.read(start, data[start : start + _PIECE])
    return data
