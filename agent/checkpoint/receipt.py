"""One receipt: what S3 acknowledged, in memory and as a JSON object on a line."""

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import field
from typing import Any

from agent.checkpoint.format import pack_xattrs, unpack_xattrs
from agent.checksum import from_hex, to_hex
from agent.model.checkpoint import ObjectRef, Stat
from agent.store.base import Part, UploadId
from agent.value import value

_dumps = json.JSONEncoder(separators=(",", ":"), check_circular=False).encode

Signature = tuple[int, int, int, int]
Extents = tuple[tuple[int, int], ...]


def signature(stat: Stat) -> Signature:
    """Return what has to be equal for a file to count as the same: size, mtime, ctime, inode."""
    return (stat.size, stat.mtime_ns, stat.ctime_ns, stat.inode)


@value
class ObjectReceipt:
    """The bytes of a file are stored at `offset` of the object at `key`, which is without the prefix."""

    path: bytes
    signature: Signature
    key: str
    crc64nvme: int
    extents: Extents | None
    xattrs: Mapping[str, bytes]
    settled: bool
    """An equal signature means that the file is the same; else it has to be read to know."""
    offset: int = 0

    @property
    def ref(self) -> ObjectRef | None:
        """Where the bytes are; None for a file that has none."""
        length = self.signature[0] if self.extents is None else sum(size for _, size in self.extents)
        if not length:
            return None
        return ObjectRef(key=self.key, offset=self.offset, length=length, crc64nvme=self.crc64nvme)


@value
class UploadReceipt:
    """A multipart upload was begun; `parts` are those that were acknowledged, by number.

    They are of the data between the holes, and `extents` say where that is. A file can have other holes with equal
    times: what was reserved and never written is one until somebody has read it, and is again once the kernel forgets.
    """

    path: bytes
    signature: Signature
    key: str
    upload: UploadId
    part_size: int
    extents: Extents | None
    settled: bool
    parts: dict[int, Part] = field(default_factory=dict)


@value
class HeadReceipt:
    """A head was about to be put: whether it was or not, the segments that its `body` names are stored."""

    n: int
    key: str
    digest: str
    body: bytes


def line_of(record: Mapping[str, Any]) -> bytes:
    return _dumps(record).encode("ascii") + b"\n"


def head_record(receipt: HeadReceipt) -> Mapping[str, Any]:
    body = receipt.body.decode("ascii")
    return {"r": "head", "n": receipt.n, "key": receipt.key, "digest": receipt.digest, "body": body}


def object_record(receipt: ObjectReceipt) -> Mapping[str, Any]:
    return {
        "r": "object",
        "path": os.fsdecode(receipt.path),
        "sig": receipt.signature,
        "key": receipt.key,
        "crc": to_hex(receipt.crc64nvme),
        "extents": receipt.extents,
        "xattrs": pack_xattrs(receipt.xattrs),
        "settled": receipt.settled,
        "offset": receipt.offset,
    }


def pack_record(key: str, receipts: Iterable[ObjectReceipt]) -> Mapping[str, Any]:
    files = [
        (os.fsdecode(one.path), one.signature, one.offset, to_hex(one.crc64nvme), pack_xattrs(one.xattrs), one.settled)
        for one in receipts
    ]
    return {"r": "pack", "key": key, "files": files}


def upload_record(receipt: UploadReceipt) -> Mapping[str, Any]:
    return {
        "r": "begun",
        "path": os.fsdecode(receipt.path),
        "sig": receipt.signature,
        "key": receipt.key,
        "upload": receipt.upload,
        "part_size": receipt.part_size,
        "extents": receipt.extents,
        "settled": receipt.settled,
    }


def part_record(upload: UploadId, part: Part) -> Mapping[str, Any]:
    return {
        "r": "part",
        "upload": upload,
        "n": part.number,
        "etag": part.etag,
        "size": part.size,
        "crc": to_hex(part.crc64nvme),
    }


def object_in(record: Mapping[str, Any]) -> ObjectReceipt:
    return ObjectReceipt(
        path=os.fsencode(record["path"]),
        signature=_signature(record["sig"]),
        key=record["key"],
        crc64nvme=from_hex(record["crc"]),
        extents=_extents(record["extents"]),
        xattrs=unpack_xattrs(record["xattrs"]),
        settled=record["settled"] is True,
        offset=int(record.get("offset", 0)),
    )


def pack_in(record: Mapping[str, Any]) -> list[ObjectReceipt]:
    return [
        ObjectReceipt(
            path=os.fsencode(path),
            signature=_signature(sig),
            key=record["key"],
            offset=int(offset),
            crc64nvme=from_hex(crc),
            extents=None,
            xattrs=unpack_xattrs(xattrs),
            settled=settled is True,
        )
        for path, sig, offset, crc, xattrs, settled in record["files"]
    ]


def upload_in(record: Mapping[str, Any]) -> UploadReceipt:
    return UploadReceipt(
        path=os.fsencode(record["path"]),
        signature=_signature(record["sig"]),
        key=record["key"],
        upload=UploadId(record["upload"]),
        part_size=int(record["part_size"]),
        extents=_extents(record["extents"]),
        settled=record["settled"] is True,
    )


def part_in(record: Mapping[str, Any]) -> Part:
    return Part(
        number=int(record["n"]), etag=record["etag"], size=int(record["size"]), crc64nvme=from_hex(record["crc"])
    )


def head_in(record: Mapping[str, Any]) -> HeadReceipt:
    body = str(record.get("body", "")).encode("ascii")
    return HeadReceipt(n=int(record["n"]), key=str(record["key"]), digest=str(record["digest"]), body=body)


def _extents(extents: Sequence[Sequence[int]] | None) -> Extents | None:
    return None if extents is None else tuple((start, length) for start, length in extents)


def _signature(sig: Sequence[int]) -> Signature:
    size, mtime_ns, ctime_ns, inode = sig
    return (size, mtime_ns, ctime_ns, inode)
