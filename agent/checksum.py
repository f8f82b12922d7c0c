"""CRC-64/NVME, the checksum that S3 keeps of every object: computed, combined, written down.

Numbers are plain ints. S3 speaks base64 (`x-amz-checksum-crc64nvme`), stored documents 16 hex digits (docs/format.md).
"""

import base64

from agent.crt import functions
from agent.errors import IntegrityMismatch

_BYTES = 8
_crc64nvme, _combine = functions()


def crc64nvme(data: bytes | memoryview, previous: int = 0) -> int:
    """Return the CRC-64/NVME of `data`, or of all before it too when `previous` is theirs. 32 GB per CPU-second."""
    return _crc64nvme(data, previous)


def combine(first: int, second: int, second_length: int) -> int:
    """Return the checksum of two runs of bytes, one after the other, from the checksums of each."""
    return _combine(first, second, second_length)


def to_base64(checksum: int) -> str:
    """Write a checksum as S3's headers do: 12 characters."""
    return base64.b64encode(checksum.to_bytes(_BYTES, "big")).decode("ascii")


def from_base64(text: str) -> int:
    """Read a checksum of an S3 header. Raises IntegrityMismatch for anything else."""
    try:
        raw = base64.b64decode(text, validate=True)
    except ValueError as error:
        raise _unreadable(text) from error
    if len(raw) != _BYTES:
        raise _unreadable(text)
    return int.from_bytes(raw, "big")


def to_hex(checksum: int) -> str:
    """Write a checksum as stored documents do: 16 lower-case hex digits."""
    return f"{checksum:016x}"


def from_hex(text: str) -> int:
    """Read a checksum of a stored document. Raises IntegrityMismatch for anything but 16 hex digits."""
    try:
        raw = bytes.fromhex(text)
    except ValueError as error:
        raise _unreadable(text) from error
    if len(raw) != _BYTES or len(text) != 2 * _BYTES:
        raise _unreadable(text)
    return int.from_bytes(raw, "big")


def _unreadable(text: str) -> IntegrityMismatch:
    return IntegrityMismatch("read checksum", repr(text[:40]), "not a CRC-64/NVME")
