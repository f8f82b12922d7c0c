"""Which checkpoints the store holds, and their documents: listed, found, loaded, believed only when they verify."""

import asyncio
import hashlib
import logging
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Executor
from datetime import datetime
from typing import Final

from agent.checkpoint.format import FormatInvalid
from agent.checkpoint.head import HEAD_BYTES, decode, digest
from agent.checkpoint.keys import HeadKey, bare, full, head_key, heads_below, id_time, parse_head_key
from agent.checkpoint.merge import merge
from agent.checkpoint.segment import decode as decode_segment
from agent.checkpoint.together import one_error
from agent.errors import IntegrityMismatch, NotFound
from agent.model.checkpoint import PEER, CheckpointId, Commit, Directory, Head, SegmentRef
from agent.store.base import ObjectMissing, ObjectStore, Stored
from agent.value import value

SEGMENT_BYTES: Final = 1 << 30
"""A larger segment is refused: a million files are about 35 MB."""

FETCHES: Final = 2
"""How often a segment is fetched before it counts as damaged: bytes can be damaged on their way, too."""

_SEGMENTS_AT_ONCE = 8

logger = logging.getLogger(__name__)


@value
class Listed:
    """A checkpoint as its newest head's key tells of it; what else there is to say is in the head (`load_head`)."""

    where: HeadKey
    key: str
    size: int
    committed_at: datetime


async def list_checkpoints(
    store: ObjectStore, prefix: str, *, cluster: str | None = None, node: str | None = None
) -> list[Listed]:
    """Return the checkpoints, newest first, each with its highest `n`. What is no head by its key is passed over."""
    newest: dict[tuple[str, str, str, CheckpointId], Listed] = {}
    async for stored in store.list(full(prefix, heads_below(cluster=cluster, node=node))):
        listed = _listed(prefix, stored)
        if listed is None or node not in {None, listed.where.node}:
            continue
        at = listed.where
        known = newest.get((at.cluster, at.node, at.writer, at.checkpoint))
        if known is None or known.where.n < at.n:
            newest[at.cluster, at.node, at.writer, at.checkpoint] = listed
    return sorted(newest.values(), key=lambda listed: (listed.where.checkpoint, listed.where.n), reverse=True)


async def find(
    store: ObjectStore,
    prefix: str,
    wanted: CheckpointId | None,
    *,
    cluster: str | None = None,
    node: str | None = None,
    instance_id: str | None = None,
    before: datetime | None = None,
    any_state: bool = False,
) -> Commit:
    """Return the checkpoint `wanted`, whatever its state; or, for None, the newest that is complete, or of `any_state`.

    What holds the directories of one job only is none of these. `instance_id` leaves out what other machines saved,
    `before` what was committed at that time or later. Raises NotFound with a hint. A head that is not one is an error
    when it is the one that was asked for; looking for the newest, it is passed over with a warning.
    """
    listed = await list_checkpoints(store, prefix, cluster=cluster, node=node)
    if wanted is not None:
        return await load_head(store, prefix, _named(listed, wanted).key)
    incomplete = 0
    for each in listed:
        if before is not None and id_time(each.where.checkpoint) >= before:
            continue
        commit = await _readable(store, prefix, each.key)
        if commit is None or (before is not None and commit.head.created_at >= before):
            continue
        if instance_id not in {None, commit.head.instance_id} or commit.head.reason == PEER:
            continue
        if commit.head.complete or any_state:
            return commit
        incomplete += 1
    raise NotFound(
        "find", "checkpoint", _where(cluster, node, instance_id, before), hint=_hint(len(listed), incomplete)
    )


async def load_head(store: ObjectStore, prefix: str, key: str) -> Commit:
    """Return the head at `key` (without the prefix). Raises FormatInvalid when it is none, or that of another key."""
    if parse_head_key(key) is None:
        raise FormatInvalid("read head", key, "no key of a head")
    stored = await store.head(full(prefix, key))
    if stored.size > HEAD_BYTES:
        raise FormatInvalid("read head", key, f"{stored.size} bytes are too many")
    blob = await store.get(full(prefix, key))
    head = decode(blob, key=key)
    if _where_it_belongs(head) != key:
        raise FormatInvalid("read head", key, "it speaks of another checkpoint")
    return Commit(head=head, key=key, digest=digest(blob))


async def load_segments(store: ObjectStore, prefix: str, head: Head, executor: Executor) -> tuple[bytes, ...]:
    """Return the segments of a head as stored, oldest first. Raises IntegrityMismatch that names a damaged one."""
    slots = asyncio.Semaphore(_SEGMENTS_AT_ONCE)

    async def load(segment: SegmentRef) -> bytes:
        async with slots:
            return await load_segment(store, prefix, segment, executor)

    tasks: list[asyncio.Task[bytes]] = []
    with one_error():
        async with asyncio.TaskGroup() as group:
            tasks += [group.create_task(load(segment), name=f"load {segment.key}") for segment in head.segments]
    return tuple(task.result() for task in tasks)


def tree(head: Head, blobs: Sequence[bytes]) -> Iterator[Directory]:
    """Yield the tree that a head's segments describe. Blocking; raises FormatInvalid where one breaks the format."""
    return merge(list(_decoded(head, blobs)))


def _decoded(head: Head, blobs: Sequence[bytes]) -> Iterable[Iterator[Directory]]:
    for segment, blob in zip(head.segments, blobs, strict=True):
        yield decode_segment(blob, key=segment.key, roots=len(head.roots))


async def load_segment(store: ObjectStore, prefix: str, segment: SegmentRef, executor: Executor) -> bytes:
    """Return one segment as stored. Raises IntegrityMismatch when it is not what its head says."""
    if segment.size > SEGMENT_BYTES:
        raise FormatInvalid("load segment", segment.key, f"{segment.size} bytes are too many")
    found = ""
    for _ in range(FETCHES):
        blob = await store.get(full(prefix, segment.key), length=segment.size)
        found = await asyncio.get_running_loop().run_in_executor(executor, _sha256, blob)
        if found == segment.sha256:
            return blob
    raise IntegrityMismatch("load segment", segment.key, f"its SHA-256 is {found}, recorded is {segment.sha256}")


def _sha256(blob: bytes) -> str:
    return hashlib.sha256(blob).hexdigest()


async def _readable(store: ObjectStore, prefix: str, key: str) -> Commit | None:
    try:
        return await load_head(store, prefix, key)
    except (FormatInvalid, ObjectMissing) as error:
        logger.warning("passed over: %s", error)
        return None


def _listed(prefix: str, stored: Stored) -> Listed | None:
    key = bare(prefix, stored.key)
    where = parse_head_key(key)
    if where is None:
        return None
    return Listed(where=where, key=key, size=stored.size, committed_at=stored.modified)


def _named(listed: Sequence[Listed], wanted: CheckpointId) -> Listed:
    for each in listed:
        if each.where.checkpoint == wanted:
            return each
    raise NotFound("find", f"checkpoint {wanted}", "there is none", hint="`hpc-agent checkpoints` lists what there is")


def _where_it_belongs(head: Head) -> str:
    at = HeadKey(cluster=head.cluster, node=head.node, writer=head.writer, checkpoint=head.checkpoint, n=head.n)
    try:
        return head_key(at)
    except ValueError:
        return ""


def _where(cluster: str | None, node: str | None, instance_id: str | None, before: datetime | None) -> str:
    limits = {"cluster": cluster, "node": node, "instance": instance_id, "before": before}
    said = ", ".join(f"{name} {value}" for name, value in limits.items() if value is not None)
    return f"there is none for {said}" if said else "there is none"


def _hint(seen: int, incomplete: int) -> str:
    if incomplete:
        return f"{incomplete} incomplete: take one by its id, or the newest with --any"
    return f"{seen} others: see `hpc-agent checkpoints`" if seen else "is it the right bucket and prefix?"
