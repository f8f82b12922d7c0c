"""The object store in S3: one aioboto3 client behind the store port.

Bodies travel as UNSIGNED-PAYLOAD with their CRC-64/NVME in a header: S3 checks it, and it costs nothing, where SHA-256
signing takes half of a core (docs/performance.md). Nothing is retried here.
"""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from typing import Any

from botocore.exceptions import ClientError

from agent.aws.body import SlicedBody
from agent.aws.errors import store_errors
from agent.checksum import crc64nvme as checksum_of
from agent.checksum import from_base64, to_base64
from agent.errors import IntegrityMismatch
from agent.store.base import (
    Body,
    BodyRefused,
    Part,
    Stored,
    StoreUnavailable,
    Take,
    UploadId,
    UploadMissing,
    check_copy,
)

_COMPLETING = 600.0
"""Seconds for CompleteMultipartUpload, which "could take several minutes" (S3 API reference), and for CopyObject."""

_PIECE = 1024 * 1024
_REGION = "x-amz-bucket-region"


class S3Store:
    """Objects of one bucket, in S3 or anything that speaks its protocol."""

    def __init__(
        self,
        client: Any,
        bucket: str,
        *,
        expected_bucket_owner: str = "",
        kms_key_id: str = "",
        patience: float,
    ) -> None:
        self._client = client
        self._bucket = bucket
        self._patience = patience
        self._common = {"Bucket": bucket}
        if expected_bucket_owner:
            self._common["ExpectedBucketOwner"] = expected_bucket_owner
        self._at_rest = {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": kms_key_id} if kms_key_id else {}
        _send_bodies_at_once(client)

    async def put(self, key: str, body: Body, *, crc64nvme: int | None = None, if_absent: bool = False) -> int:
        held, checksum = await _held(body, crc64nvme)
        condition = {"IfNoneMatch": "*"} if if_absent else {}
        async with self._request("put", key) as alive:
            said = await self._client.put_object(
                **self._common,
                **self._at_rest,
                **condition,
                Key=key,
                Body=SlicedBody(held, alive),
                ChecksumCRC64NVME=to_base64(checksum),
            )
        self._agree("put", key, said, checksum)
        return checksum

    async def copy(self, source: str, key: str, *, size: int, crc64nvme: int) -> None:
        owner = self._common.get("ExpectedBucketOwner")
        async with self._request("copy", key, seconds=_COMPLETING):
            said = await self._client.copy_object(
                **self._common,
                **self._at_rest,
                **({"ExpectedSourceBucketOwner": owner} if owner else {}),
                Key=key,
                CopySource={"Bucket": self._bucket, "Key": source},
                ChecksumAlgorithm="CRC64NVME",
            )
        try:
            self._agree("copy", key, said["CopyObjectResult"], crc64nvme)
        except BodyRefused as error:
            raise IntegrityMismatch("copy", self._url(key), error.detail) from error
        if "ChecksumCRC64NVME" not in said["CopyObjectResult"]:
            check_copy("copy", self._url(key), await self.head(key), size=size, crc64nvme=crc64nvme)

    async def begin(self, key: str) -> UploadId:
        async with self._request("begin upload of", key):
            said = await self._client.create_multipart_upload(
                **self._common, **self._at_rest, Key=key, ChecksumAlgorithm="CRC64NVME", ChecksumType="FULL_OBJECT"
            )
        return UploadId(said["UploadId"])

    async def put_part(
        self, key: str, upload: UploadId, number: int, body: Body, *, crc64nvme: int | None = None
    ) -> Part:
        held, checksum = await _held(body, crc64nvme)
        async with self._request(f"put part {number} of", key) as alive:
            said = await self._client.upload_part(
                **self._common,
                Key=key,
                UploadId=upload,
                PartNumber=number,
                Body=SlicedBody(held, alive),
                ChecksumCRC64NVME=to_base64(checksum),
            )
        self._agree(f"put part {number} of", key, said, checksum)
        return Part(number=number, etag=said["ETag"], size=held.nbytes, crc64nvme=checksum)

    async def parts(self, key: str, upload: UploadId) -> Sequence[Part]:
        found: list[Mapping[str, Any]] = []
        page: dict[str, Any] = {}
        while True:
            async with self._request("list parts of", key):
                said = await self._client.list_parts(**self._common, Key=key, UploadId=upload, **page)
            found += said.get("Parts", ())
            if not said.get("IsTruncated"):
                return _newest(found)
            page = {"PartNumberMarker": said["NextPartNumberMarker"]}

    async def complete(self, key: str, upload: UploadId, parts: Sequence[Part], *, crc64nvme: int) -> None:
        op = "complete upload of"
        try:
            async with self._request(op, key, seconds=_COMPLETING):
                said = await self._client.complete_multipart_upload(
                    **self._common,
                    Key=key,
                    UploadId=upload,
                    MultipartUpload={"Parts": [_named(part) for part in parts]},
                    ChecksumCRC64NVME=to_base64(crc64nvme),
                    ChecksumType="FULL_OBJECT",
                    MpuObjectSize=sum(part.size for part in parts),
                )
            self._agree(op, key, said, crc64nvme)
        except BodyRefused as error:
            raise IntegrityMismatch(op, self._url(key), error.detail, hint="the upload has to be begun anew") from error

    async def abort(self, key: str, upload: UploadId) -> None:
        with contextlib.suppress(UploadMissing):
            async with self._request("abort upload of", key):
                await self._client.abort_multipart_upload(**self._common, Key=key, UploadId=upload)

    async def get(self, key: str, *, offset: int = 0, length: int | None = None) -> bytes:
        if length == 0:
            return b""
        return b"".join([piece async for piece in self._pieces(key, offset, length)])

    async def fetch(self, key: str, take: Take, *, offset: int, length: int) -> None:
        if length:
            async with contextlib.aclosing(self._pieces(key, offset, length)) as pieces:
                async for piece in pieces:
                    await _blocking(take, memoryview(piece))

    async def _pieces(self, key: str, offset: int, length: int | None) -> AsyncGenerator[bytes, None]:
        """Yield a range as it comes."""
        found = 0
        async with self._request("get", key):
            said = await self._client.get_object(**self._common, Key=key, **_range(offset, length))
        stream = said["Body"]
        async with stream:
            while piece := await self._next_piece(stream, key):
                found += len(piece)
                yield piece
        if length is not None and found != length:
            raise IntegrityMismatch("get", self._url(key), f"{found} bytes from {offset} where {length} were recorded")

    async def _next_piece(self, stream: Any, key: str) -> bytes:
        async with self._request("get", key):
            return bytes(await stream.read(_PIECE))

    async def head(self, key: str) -> Stored:
        async with self._request("head", key):
            said = await self._client.head_object(**self._common, Key=key, ChecksumMode="ENABLED")
        return Stored(
            key=key, size=said["ContentLength"], modified=said["LastModified"], crc64nvme=_whole_checksum(said)
        )

    async def list(self, prefix: str) -> AsyncIterator[Stored]:
        page: dict[str, Any] = {}
        while True:
            async with self._request("list", prefix):
                said = await self._client.list_objects_v2(**self._common, Prefix=prefix, **page)
            for each in said.get("Contents", ()):
                yield Stored(key=each["Key"], size=each["Size"], modified=each["LastModified"])
            if not said.get("IsTruncated"):
                return
            page = {"ContinuationToken": said["NextContinuationToken"]}

    async def region(self) -> str:
        """Return where the bucket is, "" when S3 does not tell. It tells those, too, whom it denies everything else."""
        async with self._request("ask for the region of", ""):
            try:
                said = await self._client.head_bucket(Bucket=self._bucket)
            except ClientError as error:
                said = error.response
                if _REGION not in said.get("ResponseMetadata", {}).get("HTTPHeaders", {}):
                    raise
        return str(said.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get(_REGION, ""))

    def _url(self, key: str) -> str:
        return f"s3://{self._bucket}/{key}"

    @contextlib.asynccontextmanager
    async def _request(self, op: str, key: str, *, seconds: float | None = None) -> AsyncIterator[Callable[[], None]]:
        """Bound one request: `seconds` from each call of the yielded function to the next, and to the end."""
        loop = asyncio.get_running_loop()
        seconds = seconds or self._patience
        with store_errors(op, self._url(key)):
            patience = asyncio.timeout(seconds)

            def alive() -> None:
                # The client's own task may still take a slice when we have given up.
                with contextlib.suppress(RuntimeError):
                    patience.reschedule(loop.time() + seconds)

            try:
                async with patience:
                    yield alive
            except TimeoutError as error:
                detail = f"nothing moved for {seconds:g} s" if patience.expired() else str(error)
                raise StoreUnavailable(op, self._url(key), detail) from error

    def _agree(self, op: str, key: str, said: Mapping[str, Any], crc64nvme: int) -> None:
        """Raise BodyRefused when S3 reports another checksum than ours."""
        theirs = said.get("ChecksumCRC64NVME")
        if theirs and from_base64(theirs) != crc64nvme:
            raise BodyRefused(op, self._url(key), f"S3 computed {theirs}, sent was {to_base64(crc64nvme)}")


def _send_bodies_at_once(client: Any) -> None:
    """Leave out `Expect: 100-continue`: a part must not wait a round trip before its first byte."""
    for operation in ("PutObject", "UploadPart"):
        client.meta.events.register(f"before-send.s3.{operation}", _expect_nothing)


def _expect_nothing(request: Any, **_: object) -> None:
    # Not among the signed headers, so the signature stands.
    request.headers.pop("Expect", None)


async def _held(body: Body, crc64nvme: int | None) -> tuple[memoryview, int]:
    """Return a body as bytes in memory, and their checksum."""
    if isinstance(body, bytes | memoryview):
        return memoryview(body), crc64nvme or 0
    data = memoryview(bytearray(body.size))
    await asyncio.to_thread(body.read, 0, data)
    return data, checksum_of(data)


async def _blocking(take: Take, piece: memoryview) -> None:
    """Have a piece taken in a thread; when cancelled, only go once that has ended."""
    taking = asyncio.create_task(asyncio.to_thread(take, piece), name="take a piece")
    try:
        await asyncio.shield(taking)
    except asyncio.CancelledError:
        await asyncio.wait([taking])
        raise


def _range(offset: int, length: int | None) -> dict[str, str]:
    if length is None:
        return {"Range": f"bytes={offset}-"} if offset else {}
    return {"Range": f"bytes={offset}-{offset + length - 1}"}


def _newest(listed: Sequence[Mapping[str, Any]]) -> Sequence[Part]:
    """Return the parts by number. SeaweedFS lists every part ever sent by a number; S3 only the last."""
    newest = {each["PartNumber"]: _part(each) for each in sorted(listed, key=lambda each: each["LastModified"])}
    return [newest[number] for number in sorted(newest)]


def _part(said: Mapping[str, Any]) -> Part:
    checksum = said.get("ChecksumCRC64NVME")
    return Part(
        number=said["PartNumber"],
        etag=said["ETag"],
        size=said["Size"],
        crc64nvme=from_base64(checksum) if checksum else 0,
    )


def _named(part: Part) -> dict[str, object]:
    """Return a part as CompleteMultipartUpload names it, with its checksum where we know it."""
    checksum = {"ChecksumCRC64NVME": to_base64(part.crc64nvme)} if part.crc64nvme else {}
    return {"PartNumber": part.number, "ETag": part.etag, **checksum}


def _whole_checksum(said: Mapping[str, Any]) -> int | None:
    """Return the checksum of the whole object; one that S3 composed of the parts' is of no use to us."""
    checksum = said.get("ChecksumCRC64NVME")
    if not checksum or said.get("ChecksumType", "FULL_OBJECT") != "FULL_OBJECT":
        return None
    return from_base64(checksum)
