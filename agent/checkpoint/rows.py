"""The rows of a segment line: one entry of a directory as a JSON list, and its rare fields."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from agent.checkpoint.format import (
    BIGGEST,
    fields,
    flag,
    items,
    number,
    pack64,
    pack_xattrs,
    text,
    unpack64,
    unpack_xattrs,
)
from agent.model.checkpoint import Entry, EntryType, ObjectRef, Stat

TARGET_BYTES: Final = 4096
IDS: Final = 2**32 - 2
"""The highest: the one above means "leave it" to chown(2)."""

_TIMES: Final = (10**9 << 63) - 1
"""Some file systems (tmpfs, btrfs) keep any 64-bit second that a user sets, in the year 292 billion too."""

_TYPES: Final[Mapping[object, EntryType]] = {kind.value: kind for kind in EntryType}
_FILE, _SYMLINK = EntryType.FILE, EntryType.SYMLINK
_SHORT, _LONG = 8, 11
_CRC_DIGITS = 16


def stored_length(entry: Entry) -> int:
    """Return how many bytes of a file are stored: its size, or the sum of its extents when it has holes."""
    if entry.extents is None:
        return entry.stat.size
    return sum(length for _, length in entry.extents)


def pack(entry: Entry, objects: dict[str, int]) -> list[object]:
    """Return the row of an entry; a key that is not yet in `objects` gets the next index there.

    Raises ValueError when the entry and its bytes do not fit each other.
    """
    stat = entry.stat
    row: list[object] = [
        entry.type,
        stat.mode,
        stat.uid,
        stat.gid,
        stat.size,
        stat.mtime_ns,
        stat.ctime_ns,
        stat.inode,
    ]
    ref = entry.ref
    if ref is not None and ref.length:
        row += (objects.setdefault(ref.key, len(objects)), ref.offset, f"{ref.crc64nvme:016x}")
    if (stored_length(entry) if entry.type is EntryType.FILE else 0) != (ref.length if ref is not None else 0):
        raise ValueError(f"{entry.name!r} and its stored bytes differ in length")
    return row


def pack_more(entry: Entry) -> dict[str, object]:
    """Return the rare fields of an entry, most often none."""
    more: dict[str, object] = {}
    if entry.target:
        try:
            more["target"] = entry.target.decode()
        except UnicodeDecodeError:
            more["target64"] = pack64(entry.target)
    if entry.link:
        more["link"] = entry.link
    if entry.xattrs:
        more["xattrs"] = pack_xattrs(entry.xattrs)
    if entry.extents is not None:
        more["extents"] = entry.extents
    if entry.torn:
        more["torn"] = True
    if entry.unsettled:
        more["unsettled"] = True
    return more


def unpack(names: Sequence[bytes], rows: Sequence[Any], objects: Sequence[str], more: Mapping[int, Any]) -> list[Entry]:
    """Return the entries of a line. Raises ValueError for a row that is not as `docs/format.md` says."""
    entries: list[Entry] = []
    add = entries.append
    for position, (name, row) in enumerate(zip(names, rows, strict=True)):
        try:
            kind, mode, uid, gid, size, mtime_ns, ctime_ns, inode = row[:_SHORT]
            kind = _TYPES[kind]
            rare = more.get(position)
            stat = checked_stat(mode, uid, gid, size, mtime_ns, ctime_ns, inode)
            length = size if kind is _FILE else 0
            if rare is None:
                add(Entry(name=name, type=kind, stat=stat, ref=_ref(row, objects, length)))
            else:
                add(_rare(name, kind, stat, row, objects, fields(rare, "more")))
        except (TypeError, KeyError, IndexError, ValueError) as error:
            raise ValueError(f"entry {name!r:.80}: {error}") from error
        if kind is _SYMLINK and not entries[-1].target:
            raise ValueError(f"entry {name!r:.80}: a link to nothing")
    return entries


def checked_stat(mode: int, uid: int, gid: int, size: int, mtime_ns: int, ctime_ns: int, inode: int) -> Stat:
    """Return the Stat of these. Raises ValueError for what no file system says."""
    whole = type(mode) is type(uid) is type(gid) is type(size) is type(mtime_ns) is type(ctime_ns) is type(inode) is int
    if not whole or not (
        0 <= mode <= 0o7777
        and 0 <= uid <= IDS
        and 0 <= gid <= IDS
        and 0 <= size <= BIGGEST
        and -_TIMES <= mtime_ns <= _TIMES
        and -_TIMES <= ctime_ns <= _TIMES
        and 0 <= inode <= 2 * BIGGEST + 1
    ):
        raise ValueError("a number out of range")
    return Stat(mode=mode, uid=uid, gid=gid, size=size, mtime_ns=mtime_ns, ctime_ns=ctime_ns, inode=inode)


def _ref(row: Sequence[Any], objects: Sequence[str], length: int) -> ObjectRef | None:
    if len(row) == _SHORT and length == 0:
        return None
    if len(row) != _LONG or length == 0:
        raise ValueError(f"{len(row)} fields for {length} stored bytes")
    _, _, _, _, _, _, _, _, place, offset, crc = row
    if not (type(place) is type(offset) is int and place >= 0 and 0 <= offset <= BIGGEST - length):
        raise ValueError("an index or offset out of range")
    if type(crc) is not str or len(crc) != _CRC_DIGITS:
        raise ValueError("no crc64nvme")
    return ObjectRef(key=objects[place], offset=offset, length=length, crc64nvme=int(crc, 16))


def _rare(name: bytes, kind: EntryType, stat: Stat, row: Sequence[Any], objects: Sequence[str], more: Any) -> Entry:
    is_file = kind is EntryType.FILE
    extents = _extents(items(more["extents"], "extents"), stat.size) if is_file and "extents" in more else None
    length = stat.size if extents is None else sum(size for _, size in extents)
    return Entry(
        name=name,
        type=kind,
        stat=stat,
        ref=_ref(row, objects, length if is_file else 0),
        target=_target(more) if kind is EntryType.SYMLINK else b"",
        link=text(more.get("link", ""), "link", most=256),
        xattrs=unpack_xattrs(more.get("xattrs", {})),
        extents=extents,
        torn=flag(more.get("torn", False), "torn"),
        unsettled=flag(more.get("unsettled", False), "unsettled"),
    )


def _extents(values: list[Any], size: int) -> tuple[tuple[int, int], ...]:
    extents = []
    end = 0
    for offset, length in values:
        number(offset, "offset of an extent", least=end, most=size)
        number(length, "length of an extent", least=1, most=size - offset)
        extents.append((offset, length))
        end = offset + length
    return tuple(extents)


def _target(more: Any) -> bytes:
    target = unpack64(more["target64"], "target") if "target64" in more else text(more["target"], "target").encode()
    if len(target) > TARGET_BYTES or b"\0" in target:
        raise ValueError("a target that no link can have")
    return target
