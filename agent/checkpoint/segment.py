"""The codec of segments: sorted directories to gzipped JSON lines and back, as a stream.

Reading believes nothing: whoever can write to the bucket can plant a segment. What it lets through holds only names
that are one component of a path, keys of the one shape that we write, and counts within reason.
"""

import json
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from io import BytesIO
from operator import attrgetter, lt
from typing import Any, Final, TypeVar

from agent.checkpoint import rows
from agent.checkpoint.format import (
    FormatInvalid,
    document,
    fields,
    items,
    number,
    pack64,
    pack_xattrs,
    text,
    unpack64,
    unpack_xattrs,
)
from agent.checkpoint.keys import is_data_key
from agent.model.checkpoint import SCHEMA, Directory, Entry, Stat

RUN_ENTRIES: Final = 10_000
RUN_BYTES: Final = 8 << 20
LINE_BYTES: Final = 64 << 20
"""A longer line is refused, on both sides: it bounds what a gzip bomb can make of our memory."""

_FORMAT = "hpc-agent segment"
_LEVEL = 1
"""Of gzip: the third takes 0.7 us more for a name, and saves one byte of a hundred (measured: most are checksums)."""
_CHUNK = 256 << 10
_PIECE = 64 << 10
_ROW_BYTES = 400
_EXTENT_BYTES = 40
_NAME_BYTES = 4096
_PATH_BYTES = 1 << 20

_dumps = json.JSONEncoder(separators=(",", ":"), check_circular=False).encode
_T = TypeVar("_T")


def split(directory: Directory) -> Iterator[Directory]:
    """Yield the runs of a directory: each at most 10,000 names and about 8 MiB.

    Every name of a run, gone ones included, sorts before all those of the next.
    """
    names = sorted({entry.name for entry in directory.entries}.union(directory.gone))
    weights = {entry.name: weight(entry) for entry in directory.entries}
    entries, gone = list(reversed(directory.entries)), list(reversed(directory.gone))
    run = start = 0
    while True:
        end = _run_end(names, start, weights)
        limit = names[end] if end < len(names) else None
        yield replace(
            directory,
            run=run,
            stat=None if run else directory.stat,
            xattrs={} if run else directory.xattrs,
            entries=_taken(entries, limit, attrgetter("name")),
            gone=_taken(gone, limit, bytes),
        )
        if limit is None:
            return
        run, start = run + 1, end


def encode(directories: Iterable[Directory]) -> bytes:
    """Return the segment that holds `directories`: the same bytes for the same directories.

    Raises ValueError when they are out of order, hold what a reader would refuse, or one makes a line that is too long
    (see `split`).
    """
    return encode_lines(map(line_of, in_order(directories)))


def encode_lines(lines: Iterable[bytes]) -> bytes:
    """Return the segment of lines that are encoded already, as `lines_of` and `line_of` give them."""
    packer = zlib.compressobj(_LEVEL, zlib.DEFLATED, 16 + zlib.MAX_WBITS)
    body = BytesIO()  # no list of pieces, which would be as large again
    body.write(packer.compress(_line({"schema": SCHEMA, "format": _FORMAT})))
    for line in lines:
        body.write(packer.compress(line + b"\n"))
    body.write(packer.flush())
    return body.getvalue()


def line_of(directory: Directory) -> bytes:
    """Return the line of a directory. Raises ValueError for one that a reader would refuse."""
    return _line(_document(directory))[:-1]


def lines_of(blob: bytes) -> Iterator[bytes]:
    """Yield the lines of a segment that was found to be as it was written: nothing is checked here."""
    lines = _unzipped(blob)
    next(lines, b"")
    return lines


def directory_of(line: bytes) -> Directory:
    """Return what a line says. Raises ValueError, TypeError, KeyError or AttributeError for what is none."""
    return _directory(document(line))


def decode(blob: bytes, *, key: str = "segment", roots: int | None = None) -> Iterator[Directory]:
    """Yield the directories of a segment; a line is read when it is asked for.

    `key` is for the message, `roots` how many roots the head has. Raises FormatInvalid, which names the key and the
    line, for anything that `docs/format.md` does not allow.
    """
    line = 0
    try:
        lines = _unzipped(blob)
        line = 1
        _check_first(next(lines, b""))
        last: Directory | None = None
        for line, raw in enumerate(lines, start=2):  # noqa: B007 - the message names it
            directory = _directory(document(raw))
            _check_order(last, directory, roots)
            yield directory
            last = directory
    except (ValueError, TypeError, KeyError, AttributeError, zlib.error) as error:
        raise FormatInvalid("read segment", f"{key} line {line}", str(error)) from error


def _run_end(names: Sequence[bytes], start: int, weights: dict[bytes, int]) -> int:
    """Return the index after the last name of the run that begins at `start`."""
    size = 0
    for end in range(start, min(len(names), start + RUN_ENTRIES)):
        size += weights.get(names[end], len(names[end]))
        if size > RUN_BYTES and end > start:
            return end
    return min(len(names), start + RUN_ENTRIES)


def weight(entry: Entry) -> int:
    """Return about how many bytes an entry is in a line."""
    rare = sum(map(len, entry.xattrs.values())) + _EXTENT_BYTES * len(entry.extents or ())
    return len(entry.name) + len(entry.target) + rare + _ROW_BYTES


def _taken(waiting: list[_T], limit: bytes | None, name: Callable[[_T], bytes]) -> tuple[_T, ...]:
    """Take from the end of `waiting`, which is sorted backwards, all that come before `limit`."""
    taken = []
    while waiting and (limit is None or name(waiting[-1]) < limit):
        taken.append(waiting.pop())
    return tuple(taken)


def in_order(directories: Iterable[Directory]) -> Iterator[Directory]:
    """Yield directories as they come. Raises ValueError when one is out of order."""
    last: Directory | None = None
    for directory in directories:
        _check_order(last, directory, None)
        yield directory
        last = directory


def _line(value: dict[str, Any]) -> bytes:
    line = _dumps(value).encode("ascii") + b"\n"
    if len(line) > LINE_BYTES:
        raise ValueError(f"a line of {len(line)} bytes: {line[:80]!r}")
    return line


def _document(directory: Directory) -> dict[str, Any]:
    _check_path(directory.path)
    where = _text_or_64("dir", directory.path)
    objects: dict[str, int] = {}
    entry_rows = [rows.pack(entry, objects) for entry in directory.entries]
    raw = [entry.name for entry in directory.entries]
    names, names64 = _pack_names(raw)
    more = {str(at): rare for at, entry in enumerate(directory.entries) if (rare := rows.pack_more(entry))}
    gone = [_text_or_64("gone", name) for name in directory.gone]
    _check_names(raw)
    _check_names(directory.gone)
    _check_keys(list(objects))
    stat = directory.stat
    optional: dict[str, Any] = {
        "run": directory.run,
        "stat": stat and (stat.mode, stat.uid, stat.gid, stat.mtime_ns, stat.ctime_ns, stat.inode),
        "xattrs": pack_xattrs(directory.xattrs),
        "names64": names64,
        "more": more,
        "gone": [name["gone"] for name in gone if "gone" in name],
        "gone64": [name["gone64"] for name in gone if "gone64" in name],
    }
    return {
        "root": directory.root,
        **where,
        "names": names,
        "rows": entry_rows,
        "objects": list(objects),
        **{name: value for name, value in optional.items() if value},
    }


def _pack_names(raw: Sequence[bytes]) -> tuple[list[str | None], dict[str, str]]:
    try:
        return [name.decode() for name in raw], {}
    except UnicodeDecodeError:
        pairs = [_text_or_64("name", name) for name in raw]
    return [pair.get("name") for pair in pairs], {
        str(at): pair["name64"] for at, pair in enumerate(pairs) if "name64" in pair
    }


def _text_or_64(field: str, value: bytes) -> dict[str, str]:
    try:
        return {field: value.decode()}
    except UnicodeDecodeError:
        return {f"{field}64": pack64(value)}


def _unzipped(blob: bytes) -> Iterator[bytes]:
    """Yield the lines of a gzipped text. Raises ValueError for one that is too long or cut, zlib.error for garbage."""
    unpacker = zlib.decompressobj(16 + zlib.MAX_WBITS)
    parts: list[bytes] = []
    held = 0
    pieces = _pieces(blob)
    waiting: bytes | memoryview = b""
    while not unpacker.eof:
        given = waiting or next(pieces, b"")
        chunk = unpacker.decompress(given, _CHUNK)
        waiting = unpacker.unconsumed_tail
        if not given and not chunk and not unpacker.eof:
            raise ValueError("cut short")
        *whole, rest = chunk.split(b"\n")
        if whole:
            yield b"".join((*parts, whole[0]))
            yield from whole[1:]
            parts, held = [], 0
        parts.append(rest)
        held += len(rest)
        if held > LINE_BYTES:
            raise ValueError("a line that is too long")
    if held or unpacker.unused_data or next(pieces, None):
        raise ValueError("something after the last line")


def _pieces(blob: bytes) -> Iterator[memoryview]:
    """Yield a segment in pieces: of what zlib does not take at once it makes a copy."""
    whole = memoryview(blob)
    for start in range(0, len(whole), _PIECE):
        yield whole[start : start + _PIECE]


def _check_first(line: bytes) -> None:
    first = document(line)
    if first.get("format") != _FORMAT or first.get("schema") != SCHEMA:
        raise ValueError(f"format {first.get('format')!r:.40} schema {first.get('schema')!r:.40} is not known here")


def _directory(value: dict[str, Any]) -> Directory:
    names = _unpack_names(items(value.get("names"), "names"), fields(value.get("names64", {}), "names64"))
    objects = items(value.get("objects"), "objects")
    _check_keys(objects)
    more = {int(at): rare for at, rare in fields(value.get("more", {}), "more").items()}
    if more and not 0 <= min(more) <= max(more) < len(names):
        raise ValueError("rare fields of no entry")
    run = number(value.get("run", 0), "run")
    stat, xattrs = value.get("stat"), value.get("xattrs", {})
    if run and (stat is not None or xattrs):
        raise ValueError("a stat in a later run")
    return Directory(
        root=number(value.get("root"), "root"),
        path=_path(value),
        run=run,
        stat=None if stat is None else _stat(*items(stat, "stat")),
        xattrs=unpack_xattrs(xattrs),
        entries=tuple(rows.unpack(names, items(value.get("rows"), "rows"), objects, more)),
        gone=_gone(value),
    )


def _unpack_names(names: list[Any], names64: dict[str, Any]) -> list[bytes]:
    if names64:
        raw = [unpack64(names64[str(at)], "name") if name is None else name.encode() for at, name in enumerate(names)]
    else:
        raw = [name.encode() for name in names]
    _check_names(raw)
    return raw


def _gone(value: dict[str, Any]) -> tuple[bytes, ...]:
    plain = [name.encode() for name in items(value.get("gone", []), "gone")]
    coded = [unpack64(name, "gone") for name in items(value.get("gone64", []), "gone64")]
    gone = tuple(sorted(plain + coded))
    _check_names(gone)
    return gone


def _check_names(names: Sequence[bytes]) -> None:
    """Raise ValueError unless all are names of something in a directory, each after the one before it."""
    if not names:
        return
    joined = b"\0".join(names)
    if b"/" in joined or joined.count(b"\0") != len(names) - 1:
        raise ValueError("a name with / or NUL in it")
    if max(map(len, names)) > _NAME_BYTES or not {b"", b".", b".."}.isdisjoint(names):
        raise ValueError("a name that nothing can have")
    if not all(map(lt, names, names[1:])):
        raise ValueError("names out of order")


def _check_keys(keys: Sequence[Any]) -> None:
    for key in keys:
        if type(key) is not str or not is_data_key(key):
            raise ValueError(f"{key!r:.200} is no key of data")


def _path(value: dict[str, Any]) -> bytes:
    path = (
        unpack64(value["dir64"], "dir64")
        if "dir64" in value
        else text(value.get("dir"), "dir", most=_PATH_BYTES).encode()
    )
    _check_path(path)
    return path


def _check_path(path: bytes) -> None:
    parts = path.split(b"/") if path else []
    if len(path) > _PATH_BYTES or b"\0" in path or not {b"", b".", b".."}.isdisjoint(parts):
        raise ValueError(f"a directory called {path!r:.200}")


def _stat(mode: int, uid: int, gid: int, mtime_ns: int, ctime_ns: int, inode: int) -> Stat:
    return rows.checked_stat(mode, uid, gid, 0, mtime_ns, ctime_ns, inode)


def _check_order(last: Directory | None, directory: Directory, roots: int | None) -> None:
    """Raise ValueError unless `directory` may follow `last`."""
    if roots is not None and directory.root >= roots:
        raise ValueError(f"there is no root {directory.root}")
    if last is not None and last.order >= directory.order:
        raise ValueError(f"{directory.path!r:.200} is out of order")
    if not directory.run:
        return
    if last is None or (last.root, last.path, last.run + 1) != (directory.root, directory.path, directory.run):
        raise ValueError(f"a run of {directory.path!r:.200} is missing")
    if _names(directory)[:1] <= _names(last)[-1:]:
        raise ValueError(f"run {directory.run} of {directory.path!r:.200} is empty or overlaps the one before it")


def _names(directory: Directory) -> list[bytes]:
    return sorted({entry.name for entry in directory.entries}.union(directory.gone))
