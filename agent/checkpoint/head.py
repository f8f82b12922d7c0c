"""The codec of heads: the small document whose existence makes a checkpoint exist (P2)."""

import hashlib
import json
from dataclasses import asdict
from dataclasses import fields as fields_of
from typing import Any, Final

from agent.checkpoint.format import FormatInvalid, document, fields, flag, items, number, pack64, text, unpack64
from agent.checkpoint.keys import is_id, is_segment_key
from agent.clock import parse_stamp, stamp
from agent.model.checkpoint import SCHEMA, CheckpointId, Commit, Head, Left, SegmentRef, Totals

HEAD_BYTES: Final = 4 << 20
"""A larger one is refused: it is a few tens of KB at most."""

_FORMAT = "hpc-agent head"
_ROOTS = 1000
_SEGMENTS = 1000
_SHA256_DIGITS = 64
_HEX = frozenset("0123456789abcdef")


def encode(head: Head) -> bytes:
    """Return the bytes of a head: the same for the same head. Raises ValueError when a reader would refuse them."""
    value = {
        "schema": head.schema,
        "format": _FORMAT,
        "checkpoint": head.checkpoint,
        "n": head.n,
        "cluster": head.cluster,
        "node": head.node,
        "instance_id": head.instance_id,
        "boot_id": head.boot_id,
        "writer": head.writer,
        "created_at": stamp(head.created_at),
        "reason": head.reason,
        "notice": None if head.notice is None else dict(head.notice),
        "roots": [_pack_root(root) for root in head.roots],
        "segments": [asdict(segment) for segment in head.segments],
        "complete": head.complete,
        "quiesced": head.quiesced,
        "totals": asdict(head.totals),
        "left": {name: value for name, value in asdict(head.left).items() if value is not None},
        "jobs": [dict(job) for job in head.jobs],
    }
    blob = json.dumps(value, separators=(",", ":"), sort_keys=True, allow_nan=False).encode("ascii")
    _parse(blob)
    return blob


def decode(blob: bytes, *, key: str = "head") -> Head:
    """Return the head in `blob`. Raises FormatInvalid, which names `key`, for what `docs/format.md` does not allow."""
    try:
        return _parse(blob)
    except (ValueError, TypeError, KeyError) as error:
        raise FormatInvalid("read head", key, str(error)) from error


def digest(blob: bytes) -> str:
    """Return the SHA-256 of a head's bytes in hex: what names it outside S3."""
    return hashlib.sha256(blob).hexdigest()


def commit_document(commit: Commit) -> dict[str, Any]:
    """Return what control keeps of a commit, as `agent.evacuation.record.saved_of` reads it."""
    return {
        "checkpoint": commit.head.checkpoint,
        "n": commit.head.n,
        "key": commit.key,
        "digest": commit.digest,
        "complete": commit.head.complete,
        "created_at": stamp(commit.head.created_at),
        "totals": asdict(commit.head.totals),
        "left": asdict(commit.head.left),
    }


def _parse(blob: bytes) -> Head:
    if len(blob) > HEAD_BYTES:
        raise ValueError(f"{len(blob)} bytes are too many")
    value = document(blob)
    if value.get("format") != _FORMAT or value.get("schema") != SCHEMA:
        raise ValueError(f"format {value.get('format')!r:.40} schema {value.get('schema')!r:.40} is not known here")
    roots, segments = items(value["roots"], "roots"), items(value["segments"], "segments")
    if len(roots) > _ROOTS or len(segments) > _SEGMENTS:
        raise ValueError("too many roots or segments")
    return Head(
        checkpoint=_checkpoint(value["checkpoint"]),
        n=number(value["n"], "n", least=1),
        cluster=text(value["cluster"], "cluster"),
        node=text(value["node"], "node"),
        instance_id=text(value["instance_id"], "instance_id"),
        boot_id=text(value["boot_id"], "boot_id"),
        writer=text(value["writer"], "writer"),
        created_at=parse_stamp(text(value["created_at"], "created_at")),
        reason=text(value["reason"], "reason"),
        roots=_unpack_roots(roots),
        segments=tuple(map(_segment, segments)),
        complete=flag(value["complete"], "complete"),
        quiesced=flag(value["quiesced"], "quiesced"),
        totals=_totals(fields(value["totals"], "totals")),
        left=_left(fields(value["left"], "left")),
        notice=None if value.get("notice") is None else fields(value["notice"], "notice"),
        jobs=tuple(fields(job, "job") for job in items(value.get("jobs", []), "jobs")),
    )


def _checkpoint(value: object) -> CheckpointId:
    checkpoint = text(value, "checkpoint")
    if not is_id(checkpoint):
        raise ValueError(f"checkpoint is {checkpoint!r:.60}")
    return CheckpointId(checkpoint)


def _pack_root(root: bytes) -> str | dict[str, str]:
    try:
        return root.decode()
    except UnicodeDecodeError:
        return {"base64": pack64(root)}


def _unpack_roots(values: list[Any]) -> tuple[bytes, ...]:
    roots = tuple(map(_unpack_root, values))
    if not roots or len(set(roots)) != len(roots):
        raise ValueError("no roots, or the same one twice")
    return roots


def _unpack_root(value: Any) -> bytes:
    root = unpack64(value["base64"], "root") if type(value) is dict else text(value, "root").encode()
    parts = root.split(b"/")[1:]
    if (root != b"/" and (not root.startswith(b"/") or not {b"", b".", b".."}.isdisjoint(parts))) or b"\0" in root:
        raise ValueError(f"root {root!r:.200} is no plain absolute path")
    return root


def _segment(value: Any) -> SegmentRef:
    key, sha256 = text(value["key"], "key"), text(value["sha256"], "sha256")
    if not is_segment_key(key):
        raise ValueError(f"{key!r:.200} is no key of a segment")
    if len(sha256) != _SHA256_DIGITS or not _HEX.issuperset(sha256):
        raise ValueError(f"sha256 is {sha256!r:.80}")
    return SegmentRef(
        key=key,
        size=number(value["size"], "size"),
        sha256=sha256,
        directories=number(value["directories"], "directories"),
        entries=number(value["entries"], "entries"),
    )


def _left(value: dict[str, Any]) -> Left:
    paths = tuple(text(path, "path", most=HEAD_BYTES) for path in items(value.get("paths", []), "paths"))
    return Left(
        files=number(value["files"], "files"),
        bytes=number(value["bytes"], "bytes"),
        paths=paths,
        seen=number(value["seen"], "seen") if "seen" in value else None,
    )


def _totals(value: dict[str, Any]) -> Totals:
    return Totals(**{count.name: number(value.get(count.name, 0), count.name) for count in fields_of(Totals)})
