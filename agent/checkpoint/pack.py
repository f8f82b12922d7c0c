"""The bytes of a pack that are not those of its files: a plain tar archive (POSIX.1-2001), which any `tar` reads.

A member is a ustar header, and the file's bytes filled up to whole blocks. What ustar has no room for (long names, high
ids, times before 1970) stands in a pax header before it; nothing else does, so that a small file costs 512 bytes.
Pure, and made by hand because `tarfile` takes thirty times as long for a header.
"""

from typing import Final
from zlib import adler32

from agent.model.checkpoint import Stat

BLOCK: Final = 512
END: Final = bytes(2 * BLOCK)
"""What an archive ends with."""

_NAME, _PREFIX = 100, 155
_IDS: Final = 0o7777777
_TIMES: Final = 0o77777777777
_HALF = BLOCK // 2


def member_name(root: bytes, path: bytes, *, alone: bool) -> bytes:
    """Return the name of a file in a pack: relative to its root; below the root's own path unless that is `alone`."""
    if alone:
        return path
    above = root.strip(b"/")
    return above + b"/" + path if above else path


def padded(size: int) -> int:
    """Return how much room `size` bytes of a file take."""
    return -(-size // BLOCK) * BLOCK


def header(name: bytes, stat: Stat) -> bytes:
    """Return what stands before the bytes of a file: one block; three or more where ustar has no room for something.

    Times are whole seconds: the segment has the rest.
    """
    seconds = stat.mtime_ns // 10**9
    prefix, rest = _split(name)
    records = b""
    if len(rest) > _NAME:
        records += _record(b"path", name)
        prefix, rest = b"", rest[:_NAME]
    uid, gid = stat.uid, stat.gid
    if uid > _IDS:
        records += _record(b"uid", b"%d" % uid)
        uid = 0
    if gid > _IDS:
        records += _record(b"gid", b"%d" % gid)
        gid = 0
    if not 0 <= seconds <= _TIMES:
        records += _record(b"mtime", b"%d" % seconds)
        seconds = 0
    block = _block(rest, stat.mode, uid, gid, stat.size, seconds, b"0", prefix)
    if not records:
        return block
    extended = _block(b"PaxHeader", 0o644, 0, 0, len(records), 0, b"x", b"")
    return b"".join((extended, records, bytes(padded(len(records)) - len(records)), block))


def _split(name: bytes) -> tuple[bytes, bytes]:
    """Return a name as the two fields that ustar has for it; the second one too long where it does not fit."""
    if len(name) <= _NAME:
        return b"", name
    cut = name.rfind(b"/", 0, _PREFIX + 1)
    if cut <= 0 or not 1 <= len(name) - cut - 1 <= _NAME:
        return b"", name
    return name[:cut], name[cut + 1 :]


def _record(key: bytes, value: bytes) -> bytes:
    """Return a record of a pax header, which begins with its own length."""
    rest = b" %b=%b\n" % (key, value)
    length = len(rest)
    while len(b"%d" % length) + len(rest) != length:
        length = len(b"%d" % length) + len(rest)
    return b"%d%b" % (length, rest)


def _block(
    name: bytes, mode: int, uid: int, gid: int, size: int, seconds: int, kind: bytes, prefix: bytes
) -> bytes:  # the fields of ustar in their order
    start = b"%b%07o\0%07o\0%07o\0%011o\0%011o\0" % (name.ljust(_NAME, b"\0"), mode, uid, gid, size, seconds)
    end = b"%b%bustar\x0000%b0000000\x000000000\0%b" % (kind, bytes(100), bytes(64), prefix.ljust(167, b"\0"))
    total = _sum(start + b"        " + end)
    return b"%b%06o\0 %b" % (start, total, end)


def _sum(block: bytes) -> int:
    """Return the sum of the bytes of a block, out of Adler-32, which is one plus it: a fast way to add them up.

    Half a block at a time: the sum of a whole one may reach the modulus (65521).
    """
    return (adler32(block[:_HALF]) & 0xFFFF) + (adler32(block[_HALF:]) & 0xFFFF) - 2
