"""What S3 acknowledged, written down as it happens, so that a copier that is started again sends nothing twice (P7).

One JSON object per line, only ever appended, on the node's own disk; no fsync: it has to outlive the process,
not the machine. It helps and is never needed: when it can't be written the copy goes on without (P6).
"""

import asyncio
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from typing import Any

from agent.checkpoint.format import pack_xattrs, unpack_xattrs
from agent.checksum import from_hex, to_hex
from agent.errors import IntegrityMismatch
from agent.model.checkpoint import ObjectRef, Stat
from agent.store.base import Part, UploadId

WRITE_SECONDS = 5.0
"""A disk that takes longer is given up: a worker waits for each line."""

Signature = tuple[int, int, int, int]
Extents = tuple[tuple[int, int], ...]


def signature(stat: Stat) -> Signature:
    """Return what has to be equal for a file to count as the same: size, mtime, ctime, inode."""
    return (stat.size, stat.mtime_ns, stat.ctime_ns, stat.inode)


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectReceipt:
    """The bytes of a file are stored: at `key` without the prefix, from `offset` on."""

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


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadReceipt:
    """A multipart upload was begun; `parts` are those that were acknowledged, by number."""

    path: bytes
    signature: Signature
    key: str
    upload: UploadId
    part_size: int
    settled: bool
    parts: dict[int, Part] = field(default_factory=dict)


class Receipts:
    """The receipts of one checkpoint, in memory and in a file. Without a path it remembers nothing."""

    def __init__(self, path: Path | None) -> None:
        self.trouble = ""
        """Why nothing is written down any more; empty while all is well."""
        self.highest_head = 0
        """The highest n of a head that was tried."""
        self.earlier_heads: tuple[str, ...] = ()
        """Keys of the heads that earlier lives tried to put, the newest first."""
        self._heads: list[str] = []
        self._path = path
        self._objects: dict[bytes, ObjectReceipt] = {}
        self._uploads: dict[bytes, UploadReceipt] = {}
        self._by_id: dict[UploadId, UploadReceipt] = {}
        self._of: tuple[str, str] | None = None
        self._fd: int | None = None
        self._waiting: list[bytes] = []
        self._writing = asyncio.Lock()

    @classmethod
    def load(cls, path: Path | None) -> "Receipts":
        """Return the receipts at `path`, none when there is no such file. Blocking.

        Lines that can't be read, as the last one after a cut, count as never written. What is wrong with the disk is in
        `trouble`.
        """
        receipts = cls(path)
        if path is None:
            return receipts
        try:
            with path.open("rb") as file:
                line = b"\n"
                for line in file:
                    receipts._recall(line)
            if not line.endswith(b"\n"):
                receipts._waiting.append(b"\n")
        except FileNotFoundError:
            pass
        except OSError as error:
            receipts._give_up(error.strerror or repr(error))
        return receipts

    @property
    def is_kept(self) -> bool:
        """Whether anything is remembered."""
        return self._path is not None

    def object_of(self, path: bytes, stat: Stat) -> ObjectReceipt | None:
        """Return where the file's bytes are, if it is the same file still."""
        found = self._objects.get(path)
        return found if found is not None and found.signature == signature(stat) else None

    def was_file(self, path: bytes) -> bool:
        """Return whether this checkpoint stored a file, of whatever content, at the path."""
        return path in self._objects

    def upload_of(self, path: bytes, stat: Stat) -> UploadReceipt | None:
        """Return the multipart upload that was begun for the file, if it is the same file still."""
        found = self._uploads.get(path)
        return found if found is not None and found.signature == signature(stat) else None

    def begin(self, *, pass_id: str, checkpoint: str, prefix: str) -> None:
        """Begin a life of the copier. Receipts of another checkpoint, or below another prefix, are forgotten."""
        self._enter((checkpoint, prefix))
        self.earlier_heads = tuple(reversed(self._heads))
        self._note({"r": "pass", "pass": pass_id, "checkpoint": checkpoint, "prefix": prefix})

    def stored(self, receipt: ObjectReceipt) -> None:
        self._keep(receipt)
        self._note(
            {
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
        )

    def packed(self, receipts: Iterable[ObjectReceipt]) -> None:
        """Note files of one pack or a few, without holes, in one record for each."""
        for key, members in groupby(receipts, key=attrgetter("key")):
            files = []
            for each in members:
                self._keep(each)
                path, crc, xattrs = os.fsdecode(each.path), to_hex(each.crc64nvme), pack_xattrs(each.xattrs)
                files.append((path, each.signature, each.offset, crc, xattrs, each.settled))
            self._note({"r": "pack", "key": key, "files": files})

    def begun(self, receipt: UploadReceipt) -> None:
        self._keep_upload(receipt)
        self._note(
            {
                "r": "begun",
                "path": os.fsdecode(receipt.path),
                "sig": receipt.signature,
                "key": receipt.key,
                "upload": receipt.upload,
                "part_size": receipt.part_size,
                "settled": receipt.settled,
            }
        )

    def part(self, upload: UploadId, part: Part) -> None:
        self._keep_part(upload, part)
        self._note(
            {
                "r": "part",
                "upload": upload,
                "n": part.number,
                "etag": part.etag,
                "size": part.size,
                "crc": to_hex(part.crc64nvme),
            }
        )

    def head(self, *, n: int, key: str, digest: str) -> None:
        """Note a head that is about to be put."""
        self._keep_head(n, key)
        self._note({"r": "head", "n": n, "key": key, "digest": digest})

    def committed(self, n: int) -> None:
        self._note({"r": "committed", "n": n})

    async def flush(self, executor: Executor) -> None:
        """Return when all that was noted so far is written, or can't be."""
        async with self._writing:
            lines, self._waiting = self._waiting, []
            if not lines:
                return
            try:
                async with asyncio.timeout(WRITE_SECONDS):
                    await asyncio.get_running_loop().run_in_executor(executor, self._write, b"".join(lines))
            except TimeoutError:
                self._give_up(f"the disk did not answer within {WRITE_SECONDS:g} s")
            except OSError as error:
                self._give_up(error.strerror or repr(error))

    def close(self) -> None:
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def _note(self, record: dict[str, Any]) -> None:
        if self._path is not None and not self.trouble:
            self._waiting.append(json.dumps(record, separators=(",", ":")).encode("ascii") + b"\n")

    def _write(self, lines: bytes) -> None:
        if self._fd is None:
            assert self._path is not None
            self._fd = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        while lines:
            lines = lines[os.write(self._fd, lines) :]

    def _give_up(self, why: str) -> None:
        self._waiting.clear()
        self.trouble = f"write receipts {self._path}: {why} (after a restart, files would be sent again)"

    def _enter(self, checkpoint_and_prefix: tuple[str, str]) -> None:
        if self._of != checkpoint_and_prefix:
            self._of = checkpoint_and_prefix
            self.highest_head = 0
            self._heads.clear()
            self._objects.clear()
            self._uploads.clear()
            self._by_id.clear()

    def _keep(self, receipt: ObjectReceipt) -> None:
        if self._path is not None:
            self._objects[receipt.path] = receipt
            if (upload := self._uploads.pop(receipt.path, None)) is not None:
                del self._by_id[upload.upload]

    def _keep_upload(self, receipt: UploadReceipt) -> None:
        if self._path is not None:
            if (before := self._uploads.get(receipt.path)) is not None:
                del self._by_id[before.upload]
            self._uploads[receipt.path] = self._by_id[receipt.upload] = receipt

    def _keep_head(self, n: int, key: str) -> None:
        self.highest_head = max(self.highest_head, n)
        if self._path is not None:
            self._heads.append(key)

    def _keep_part(self, upload: UploadId, part: Part) -> None:
        if (receipt := self._by_id.get(upload)) is not None:
            receipt.parts[part.number] = part

    def _recall(self, line: bytes) -> None:
        """Take a line into memory; one that is torn, or of another version, is as good as never written."""
        try:
            record = json.loads(line)
            match record["r"]:
                case "pass":
                    self._enter((record["checkpoint"], record["prefix"]))
                case "object":
                    self._keep(_object(record))
                case "pack":
                    for receipt in _pack(record):
                        self._keep(receipt)
                case "begun":
                    self._keep_upload(_upload(record))
                case "part":
                    self._keep_part(UploadId(record["upload"]), _part(record))
                case "head":
                    self._keep_head(int(record["n"]), str(record["key"]))
        except (ValueError, KeyError, TypeError, IntegrityMismatch):
            return


def _object(record: Mapping[str, Any]) -> ObjectReceipt:
    extents = record["extents"]
    return ObjectReceipt(
        path=os.fsencode(record["path"]),
        signature=_signature(record["sig"]),
        key=record["key"],
        crc64nvme=from_hex(record["crc"]),
        extents=None if extents is None else tuple((start, length) for start, length in extents),
        xattrs=unpack_xattrs(record["xattrs"]),
        settled=record["settled"] is True,
        offset=int(record.get("offset", 0)),
    )


def _pack(record: Mapping[str, Any]) -> list[ObjectReceipt]:
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


def _upload(record: Mapping[str, Any]) -> UploadReceipt:
    return UploadReceipt(
        path=os.fsencode(record["path"]),
        signature=_signature(record["sig"]),
        key=record["key"],
        upload=UploadId(record["upload"]),
        part_size=int(record["part_size"]),
        settled=record["settled"] is True,
    )


def _part(record: Mapping[str, Any]) -> Part:
    return Part(
        number=int(record["n"]), etag=record["etag"], size=int(record["size"]), crc64nvme=from_hex(record["crc"])
    )


def _signature(sig: Sequence[int]) -> Signature:
    size, mtime_ns, ctime_ns, inode = sig
    return (size, mtime_ns, ctime_ns, inode)
