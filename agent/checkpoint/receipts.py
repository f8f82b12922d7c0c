"""What S3 acknowledged, written down as it happens, so that a copier that is started again sends nothing twice (P7).

One JSON object per line, only ever appended, on the node's own disk; no fsync: it has to outlive the process,
not the machine. It helps and is never needed: when it can't be written the copy goes on without (P6).
"""

import asyncio
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Executor
from functools import partial
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from typing import Any

from agent.checkpoint.receipt import (
    HeadReceipt,
    ObjectReceipt,
    UploadReceipt,
    head_in,
    head_record,
    line_of,
    object_in,
    object_record,
    pack_in,
    pack_record,
    part_in,
    part_record,
    signature,
    upload_in,
    upload_record,
)
from agent.checkpoint.together import bounded
from agent.errors import IntegrityMismatch
from agent.model.checkpoint import Stat
from agent.store.base import Part, UploadId

WRITE_SECONDS = 5.0
"""A disk that takes longer is given up: a worker waits for each line."""

_APPEND = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW


class Receipts:
    """The receipts of one checkpoint, in memory and in a file. Without a path it remembers nothing.

    Kept are those since the last commit: what is in a segment is known from there.
    """

    def __init__(self, path: Path | None) -> None:
        self.trouble = ""
        """Why nothing is written down any more; empty while all is well."""
        self.highest_head = 0
        """The highest n of a head that was tried."""
        self.earlier_heads: tuple[HeadReceipt, ...] = ()
        """The heads that earlier lives tried to put, the newest first."""
        self._heads: list[HeadReceipt] = []
        self._path = path
        self._objects: dict[bytes, ObjectReceipt] = {}
        self._lines: dict[str, bytes] = {}
        """What is written of an object, by its key: so that it need not be put into words again (`rotate`)."""
        self._uploads: dict[bytes, UploadReceipt] = {}
        self._by_id: dict[UploadId, UploadReceipt] = {}
        self._in_segment: list[bytes] = []
        self._began: Mapping[str, Any] = {}
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

    def upload_of(self, path: bytes, stat: Stat) -> UploadReceipt | None:
        """Return the multipart upload that was begun for the file, if it is the same file still."""
        found = self._uploads.get(path)
        return found if found is not None and found.signature == signature(stat) else None

    def begin(self, *, pass_id: str, checkpoint: str, prefix: str) -> None:
        """Begin a life of the copier. Receipts of another checkpoint, or below another prefix, are forgotten."""
        self._enter((checkpoint, prefix))
        self.earlier_heads = tuple(reversed(self._heads))
        self._began = {"r": "pass", "pass": pass_id, "checkpoint": checkpoint, "prefix": prefix}
        self._note(self._began)

    def stored(self, receipt: ObjectReceipt) -> None:
        if self.is_kept:
            self._write_soon(self._keep(receipt.key, [receipt], line_of(object_record(receipt))))

    def packed(self, receipts: Iterable[ObjectReceipt]) -> None:
        """Note files of one pack or a few, without holes, in one record for each."""
        if self.is_kept:
            for key, members in groupby(receipts, key=attrgetter("key")):
                files = list(members)
                self._write_soon(self._keep(key, files, line_of(pack_record(key, files))))

    def begun(self, receipt: UploadReceipt) -> None:
        self._keep_upload(receipt)
        self._note(upload_record(receipt))

    def part(self, upload: UploadId, part: Part) -> None:
        self._keep_part(upload, part)
        self._note(part_record(upload, part))

    def head(self, *, n: int, key: str, digest: str, body: bytes) -> None:
        """Note a head that is about to be put."""
        receipt = HeadReceipt(n=n, key=key, digest=digest, body=body)
        self._keep_head(receipt)
        self._note(head_record(receipt))

    def committed(self, n: int) -> None:
        """Note that the head was put: those before it are of no use any more."""
        self._heads = [head for head in self._heads if head.n >= n]

    def in_segment(self, paths: Iterable[bytes]) -> None:
        """Note that files are in a segment: their receipts go once a head names it (`rotate`)."""
        self._in_segment.extend(path for path in paths if path in self._objects)

    async def flush(self, executor: Executor) -> None:
        """Return when all that was noted so far is written, or can't be."""
        async with self._writing:
            lines, self._waiting = self._waiting, []
            if not lines:
                return
            await self._on_disk(executor, partial(self._write, b"".join(lines)))

    async def rotate(self, executor: Executor) -> None:
        """Forget what the head that was just put says itself; begin the file anew with the rest."""
        for path in self._in_segment:
            self._objects.pop(path, None)
        self._in_segment.clear()
        needed = {receipt.key for receipt in self._objects.values()}
        self._lines = {key: lines for key, lines in self._lines.items() if key in needed}
        if not self.is_kept or self.trouble:
            return
        async with self._writing:
            self._waiting.clear()
            kept = b"".join(self._records())
            await self._on_disk(executor, partial(self._write_anew, kept))

    def close(self) -> None:
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    async def _on_disk(self, executor: Executor, write: Callable[[], None]) -> None:
        try:
            await bounded(executor, write, WRITE_SECONDS)
        except TimeoutError:
            self._give_up(f"the disk did not answer within {WRITE_SECONDS:g} s")
        except OSError as error:
            self._give_up(error.strerror or repr(error))

    def _note(self, record: Mapping[str, Any]) -> None:
        if self.is_kept:
            self._write_soon(line_of(record))

    def _write_soon(self, line: bytes) -> None:
        if not self.trouble:
            self._waiting.append(line)

    def _records(self) -> Iterator[bytes]:
        """Yield what another life has to know; an object ends the upload of its file, so it comes first."""
        yield line_of(self._began)
        yield from map(line_of, map(head_record, self._heads))
        yield from self._lines.values()
        for upload in self._uploads.values():
            yield line_of(upload_record(upload))
            yield from (line_of(part_record(upload.upload, part)) for part in upload.parts.values())

    def _write_anew(self, lines: bytes) -> None:
        assert self._path is not None
        new = self._path.with_name(f"{self._path.name}.new")
        new.unlink(missing_ok=True)
        self.close()
        self._fd = os.open(new, _APPEND | os.O_EXCL, 0o600)
        self._write(lines)
        new.replace(self._path)

    def _write(self, lines: bytes) -> None:
        if self._fd is None:
            assert self._path is not None
            self._fd = os.open(self._path, _APPEND, 0o600)
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
            self._lines.clear()
            self._uploads.clear()
            self._by_id.clear()

    def _keep(self, key: str, receipts: Iterable[ObjectReceipt], line: bytes) -> bytes:
        """Keep receipts of one object, and the line that says them; return it."""
        for receipt in receipts:
            self._objects[receipt.path] = receipt
            if (upload := self._uploads.pop(receipt.path, None)) is not None:
                del self._by_id[upload.upload]
        self._lines[key] = self._lines.get(key, b"") + line
        return line

    def _keep_upload(self, receipt: UploadReceipt) -> None:
        if self._path is not None:
            if (before := self._uploads.get(receipt.path)) is not None:
                del self._by_id[before.upload]
            self._uploads[receipt.path] = self._by_id[receipt.upload] = receipt

    def _keep_head(self, receipt: HeadReceipt) -> None:
        self.highest_head = max(self.highest_head, receipt.n)
        if self._path is not None:
            self._heads.append(receipt)

    def _keep_part(self, upload: UploadId, part: Part) -> None:
        if (receipt := self._by_id.get(upload)) is not None:
            receipt.parts[part.number] = part

    def _recall(self, line: bytes) -> None:
        """Take a line into memory; one that is torn, or of another version, is as good as never written."""
        try:
            record, line = json.loads(line), line.rstrip(b"\n") + b"\n"
            match record["r"]:
                case "pass":
                    self._enter((record["checkpoint"], record["prefix"]))
                case "object":
                    self._keep(record["key"], [object_in(record)], line)
                case "pack":
                    self._keep(record["key"], pack_in(record), line)
                case "begun":
                    self._keep_upload(upload_in(record))
                case "part":
                    self._keep_part(UploadId(record["upload"]), part_in(record))
                case "head":
                    self._keep_head(head_in(record))
        except (ValueError, KeyError, TypeError, IntegrityMismatch):
            return
