"""The port to an object store.

Contract of every implementation, checked by one suite in tests/contract:

- Keys are complete (prefix included). An object appears whole or not at all.
- A body is `bytes` or `memoryview`; the caller does not change it until the call returns. Or it is a `Flow`.
- `crc64nvme` is the CRC-64/NVME of the whole body; the store refuses a body that differs (BodyRefused), so a call that
  returns means these bytes are stored. A `Flow` comes without: what was read of it is what counts, and is returned.
- Nothing is retried here: see `retrying.py`. A cancelled call may or may not have happened.
- Errors: StoreUnavailable (transient: network, time-out, 5xx, 429, throttling), StoreDenied (403, permanent),
  ObjectMissing (404), ObjectExists (412 of a conditional put), BodyRefused (400 BadDigest: transient, the body was
  damaged on its way), UploadMissing (the multipart upload is gone, or is not made of the parts that were named),
  IntegrityMismatch (permanent: what is stored is not what was recorded).
"""

from collections.abc import AsyncIterator, Callable, Sequence
from datetime import datetime
from typing import Final, NewType, Protocol

from agent.errors import IntegrityMismatch, NotFound, PermanentError, TransientError
from agent.value import value

UploadId = NewType("UploadId", str)

MOST_COPIED: Final = 5 << 30
"""Bytes of the largest object that one copy takes (S3 API reference, "CopyObject"); StoreDenied for more."""


class Flow(Protocol):
    """A body that is not in memory: the store reads it while it sends it, from the beginning at every try."""

    @property
    def size(self) -> int: ...

    def read(self, offset: int, into: memoryview) -> None:
        """Fill `into` with what is at `offset`. Called in a thread of the store's. What it raises is raised there."""
        ...


Body = bytes | memoryview | Flow


def size_of(body: Body) -> int:
    return memoryview(body).nbytes if isinstance(body, bytes | memoryview) else body.size


Take = Callable[[memoryview], None]
"""What a fetch hands its bytes to: a piece that is there until it returns. It may block."""


class StoreUnavailable(TransientError):
    """The store did not answer, or asked to be left alone for a while."""


class BodyRefused(TransientError):
    """What arrived was not what was sent."""


class StoreDenied(PermanentError):
    """The store knows us and says no; or the bucket, its owner, its endpoint policy or its key does."""


class ObjectMissing(NotFound):
    """There is no such object."""


class ObjectExists(PermanentError):
    """Somebody already wrote this key."""


class UploadMissing(PermanentError):
    """The multipart upload was completed, aborted or never begun."""


@value
class Part:
    """One part of a multipart upload that the store acknowledged."""

    number: int
    etag: str
    size: int
    crc64nvme: int


@value
class Stored:
    """What the store says of an object. `crc64nvme` is None where it kept none of the whole object."""

    key: str
    size: int
    modified: datetime
    crc64nvme: int | None = None


def check_copy(op: str, subject: str, stored: Stored, *, size: int, crc64nvme: int) -> None:
    """Raise IntegrityMismatch when what a copy made is not what it was to be made of."""
    if stored.size != size or stored.crc64nvme not in {None, crc64nvme}:
        raise IntegrityMismatch(op, subject, f"{stored.size} bytes of {size}, or with another checksum, were copied")


class ObjectStore(Protocol):
    async def put(self, key: str, body: Body, *, crc64nvme: int | None = None, if_absent: bool = False) -> int:
        """Store `body` at `key`, with `if_absent` only where nothing is (else ObjectExists); return its checksum."""
        ...

    async def copy(self, source: str, key: str, *, size: int, crc64nvme: int) -> None:
        """Have the store make the object at `key` out of the one at `source`, which has this size and checksum.

        No byte of it passes through here. May take minutes when it is large (at most MOST_COPIED). Raises ObjectMissing
        when there is no `source`, IntegrityMismatch when it is another than was said: then nobody may refer to `key`.
        """
        ...

    async def begin(self, key: str) -> UploadId:
        """Begin a multipart upload."""
        ...

    async def put_part(
        self, key: str, upload: UploadId, number: int, body: Body, *, crc64nvme: int | None = None
    ) -> Part:
        """Store part `number` (1 to 10,000; 5 MiB to 5 GiB, the last may be smaller). May be repeated."""
        ...

    async def parts(self, key: str, upload: UploadId) -> Sequence[Part]:
        """Return the parts stored so far, by number; `crc64nvme` is 0 where the store does not tell."""
        ...

    async def complete(self, key: str, upload: UploadId, parts: Sequence[Part], *, crc64nvme: int) -> None:
        """Make the object out of its parts; `crc64nvme` is that of the whole object.

        May take minutes when it is large. Raises IntegrityMismatch when the parts make something else: the upload has
        to be begun anew.
        """
        ...

    async def abort(self, key: str, upload: UploadId) -> None:
        """Drop the upload and its parts. Dropping one that is gone is no error."""
        ...

    async def get(self, key: str, *, offset: int = 0, length: int | None = None) -> bytes:
        """Return `length` bytes from `offset`, or all there is from there.

        An answer cut short is StoreUnavailable; a range past the end of the object is IntegrityMismatch.
        """
        ...

    async def fetch(self, key: str, take: Take, *, offset: int, length: int) -> None:
        """Hand the `length` bytes from `offset` to `take`, in pieces and in order, without ever holding all of them.

        `take` is called in a thread of the store's choice, never twice at a time and never after this returns. What it
        raises is raised here. Fails as `get` does; what was handed over before is then the beginning of the range.
        """
        ...

    async def head(self, key: str) -> Stored:
        """Return what is stored at `key`."""
        ...

    def list(self, prefix: str) -> AsyncIterator[Stored]:
        """Yield every object whose key begins with `prefix`, in no promised order; `crc64nvme` is not asked for.

        End it with `/`: directory buckets (S3 Express One Zone) take no other.
        """
        ...
