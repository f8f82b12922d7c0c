"""The object store in S3 over our own wire. Each request has a thread while it lasts, which its canceller gets back."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import replace
from functools import partial
from typing import Final, TypeVar

from agent.aws.answers import Answer
from agent.aws.wire.bodies import CRC, Bodies, agree, only_head, size_of
from agent.aws.wire.body import Held, Outgoing
from agent.aws.wire.client import REGION, Client, Request, refusal
from agent.aws.wire.connection import Lost
from agent.aws.wire.cord import Cord
from agent.aws.wire.documents import Document, Listed, completion, newest
from agent.aws.wire.line import Heard, whole
from agent.aws.wire.message import Head, moment
from agent.aws.wire.signature import encoded
from agent.checksum import from_base64, to_base64
from agent.errors import IntegrityMismatch
from agent.store.base import Body, BodyRefused, Part, Stored, Take, UploadId, UploadMissing, check_copy

T = TypeVar("T")

_COMPLETING: Final = 600.0
"""Seconds for CompleteMultipartUpload, which "could take several minutes" (S3 API reference), and for CopyObject."""
_CRC64NVME: Final = {"x-amz-checksum-algorithm": "CRC64NVME"}
_WHOLE: Final = {"x-amz-checksum-type": "FULL_OBJECT"}
_PARTIAL_CONTENT: Final = 206


class WireStore:
    """Objects of one bucket. `threads` has one for each request that can be under way."""

    def __init__(
        self, client: Client, threads: Executor, bucket: str, *, expected_bucket_owner: str = "", kms_key_id: str = ""
    ) -> None:
        self._client = client
        self._threads = threads
        self._bucket = bucket
        self._owner = {"x-amz-expected-bucket-owner": expected_bucket_owner} if expected_bucket_owner else {}
        key = {"x-amz-server-side-encryption-aws-kms-key-id": kms_key_id}
        self._at_rest = {"x-amz-server-side-encryption": "aws:kms", **key} if kms_key_id else {}
        self._bodies = Bodies(self._ask, threads, are_checked=client.is_aws)

    async def put(self, key: str, body: Body, *, crc64nvme: int | None = None, if_absent: bool = False) -> int:
        headers = {**self._at_rest, "if-none-match": "*"} if if_absent else self._at_rest
        request = replace(self._request("PutObject", "put", "PUT", key, headers=headers), is_repeatable=not if_absent)
        _, checksum = await self._bodies.send(request, body, crc64nvme)
        return checksum

    async def copy(self, source: str, key: str, *, size: int, crc64nvme: int) -> None:
        owner = {f"x-amz-source-{name.removeprefix('x-amz-')}": value for name, value in self._owner.items()}
        headers = {**self._at_rest, **_CRC64NVME, **owner, "x-amz-copy-source": encoded(f"{self._bucket}/{source}")}
        request = replace(self._request("CopyObject", "copy", "PUT", key, headers=headers), seconds=_COMPLETING)
        said = await self._ask(request, partial(_done, request, "CopyObjectResult"))
        if checksum := said.text("ChecksumCRC64NVME"):
            with _for_good():
                agree(request, checksum, crc64nvme)
        else:
            check_copy(request.op, request.subject, await self.head(key), size=size, crc64nvme=crc64nvme)

    async def begin(self, key: str) -> UploadId:
        headers = {**self._at_rest, **_WHOLE, **_CRC64NVME}
        request = self._request("CreateMultipartUpload", "begin upload of", "POST", key, headers=headers)
        said = await self._ask(
            replace(request, query=[("uploads", "")]), partial(_document, "InitiateMultipartUploadResult")
        )
        return UploadId(said.text("UploadId"))

    async def put_part(
        self, key: str, upload: UploadId, number: int, body: Body, *, crc64nvme: int | None = None
    ) -> Part:
        query = [("partNumber", str(number)), ("uploadId", upload)]
        request = replace(self._request("UploadPart", f"put part {number} of", "PUT", key), query=query)
        head, checksum = await self._bodies.send(request, body, crc64nvme)
        return Part(number=number, etag=head.headers.get("etag", ""), size=size_of(body), crc64nvme=checksum)

    async def parts(self, key: str, upload: UploadId) -> Sequence[Part]:
        request = self._request("ListParts", "list parts of", "GET", key)
        found: list[Listed] = []
        marker = ""
        while True:
            query = [("uploadId", upload), *([("part-number-marker", marker)] if marker else [])]
            said = await self._ask(replace(request, query=query), partial(_document, "ListPartsResult"))
            found += said.parts()
            if not (marker := said.next_page("NextPartNumberMarker")):
                return newest(found)

    async def complete(self, key: str, upload: UploadId, parts: Sequence[Part], *, crc64nvme: int) -> None:
        size = str(sum(part.size for part in parts))
        headers = {**_WHOLE, CRC: to_base64(crc64nvme), "x-amz-mp-object-size": size}
        request = self._request(
            "CompleteMultipartUpload", "complete upload of", "POST", key, headers=headers, body=Held(completion(parts))
        )
        request = replace(request, query=[("uploadId", upload)], seconds=_COMPLETING, is_repeatable=False)
        with _for_good(hint="the upload has to be begun anew"):
            said = await self._ask(request, partial(_done, request, "CompleteMultipartUploadResult"))
            agree(request, said.text("ChecksumCRC64NVME"), crc64nvme)

    async def abort(self, key: str, upload: UploadId) -> None:
        request = self._request("AbortMultipartUpload", "abort upload of", "DELETE", key)
        with contextlib.suppress(UploadMissing):
            await self._ask(replace(request, query=[("uploadId", upload)]), only_head)

    async def get(self, key: str, *, offset: int = 0, length: int | None = None) -> bytes:
        if length == 0:
            return b""
        data = bytearray()

        def take(piece: memoryview) -> None:
            data.extend(piece)

        await self._fetch(key, take, offset, length)
        return bytes(data)

    async def fetch(self, key: str, take: Take, *, offset: int, length: int) -> None:
        if length:
            await self._fetch(key, take, offset, length)

    async def head(self, key: str) -> Stored:
        request = self._request("HeadObject", "head", "HEAD", key, headers={"x-amz-checksum-mode": "ENABLED"})
        return await self._ask(request, partial(_stored, key))

    async def list(self, prefix: str) -> AsyncIterator[Stored]:
        asked = [("list-type", "2"), ("prefix", prefix), ("encoding-type", "url")]
        request = self._request("ListObjectsV2", "list", "GET", None)
        request = replace(request, subject=self._url(prefix))
        token = ""
        while True:
            query = [*asked, *([("continuation-token", token)] if token else [])]
            said = await self._ask(replace(request, query=query), partial(_document, "ListBucketResult"))
            for found in said.contents():
                yield found
            if not (token := said.next_page("NextContinuationToken")):
                return

    async def region(self) -> str:
        """Return where the bucket is, "" when S3 does not tell. It tells those, too, whom it denies everything else."""
        request = self._request("HeadBucket", "ask for the region of", "HEAD", None)
        return await self._ask(replace(request, headers={}, hears_refusals=True), _region)

    async def _fetch(self, key: str, take: Take, offset: int, length: int | None) -> None:
        request = self._request("GetObject", "get", "GET", key, headers=_range(offset, length))

        def heard(head: Head, pieces: Iterator[memoryview]) -> None:
            _check_range(request, head, offset, length)
            for piece in pieces:
                take(piece)

        await self._ask(request, heard)

    def _request(
        self,
        operation: str,
        op: str,
        method: str,
        key: str | None,
        *,
        headers: Mapping[str, str] | None = None,
        body: Outgoing | None = None,
    ) -> Request:
        return Request(
            operation=operation,
            op=op,
            subject=self._url(key or ""),
            method=method,
            key=key,
            headers={**self._owner, **(headers or {})},
            body=body or Held(b""),
        )

    def _url(self, key: str) -> str:
        return f"s3://{self._bucket}/{key}"

    async def _ask(self, request: Request, heard: Heard[T | Answer]) -> T:
        """Ask in a thread; when cancelled, only go once that has let go of what it was given."""
        cord = Cord()
        running = self._threads.submit(partial(self._client.ask, request, cord, heard))
        answer = asyncio.wrap_future(running)
        try:
            return await asyncio.shield(answer)
        except asyncio.CancelledError:
            answer.add_done_callback(_forget)
            if not running.cancel() and cord.cut():
                await asyncio.wait([answer])
            raise


def _forget(answer: "asyncio.Future[T]") -> None:
    """Nobody asks for it any more."""
    if not answer.cancelled():
        answer.exception()


def _document(kind: str, _head: Head, pieces: Iterator[memoryview]) -> Document:
    return Document(whole(pieces), kind)


@contextlib.contextmanager
def _for_good(*, hint: str = "") -> Iterator[None]:
    """Raise IntegrityMismatch where sending the same again would make the same."""
    try:
        yield
    except BodyRefused as error:
        raise IntegrityMismatch(error.op, error.subject, error.detail, hint=hint) from error


def _done(request: Request, kind: str, head: Head, pieces: Iterator[memoryview]) -> Document | Answer:
    """S3 begins with a 200 and white space while it works: what became of it is in the body."""
    raw = whole(pieces).lstrip()
    document = Document(raw, kind, "Error")
    return refusal(request.operation, head, raw, status=500) if document.kind == "Error" else document


def _region(head: Head, pieces: Iterator[memoryview]) -> str:
    whole(pieces)
    return head.headers.get(REGION, "")


def _stored(key: str, head: Head, pieces: Iterator[memoryview]) -> Stored:
    """A checksum that S3 composed of the parts' is of no use to us."""
    whole(pieces)
    said = head.headers
    checksum = said.get(CRC, "") if said.get("x-amz-checksum-type", "FULL_OBJECT") == "FULL_OBJECT" else ""
    try:
        size, modified = int(said["content-length"]), moment(said["last-modified"])
    except (KeyError, ValueError) as error:
        raise Lost(f"the answer lacks size or time: {error}") from error
    return Stored(key=key, size=size, modified=modified, crc64nvme=from_base64(checksum) if checksum else None)


def _range(offset: int, length: int | None) -> dict[str, str]:
    if length is None:
        return {"range": f"bytes={offset}-"} if offset else {}
    return {"range": f"bytes={offset}-{offset + length - 1}"}


def _check_range(request: Request, head: Head, offset: int, length: int | None) -> None:
    """Raise IntegrityMismatch, before any of it is taken, when something else comes than was asked for."""
    found = head.headers.get("content-length", "")
    if length is not None and found != str(length):
        detail = f"{found or '?'} bytes from {offset} where {length} were recorded"
        raise IntegrityMismatch(request.op, request.subject, detail)
    if offset and head.status != _PARTIAL_CONTENT:
        raise IntegrityMismatch(request.op, request.subject, "a whole object came where a part of it was asked for")
