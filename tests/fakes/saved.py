"""Savers to test with, and what a head says, read back byte by byte without the agent's own restore."""

import os
import stat
from datetime import UTC, datetime
from hashlib import sha256

from agent.chance import SystemChance
from agent.checkpoint import head as heads
from agent.checkpoint import segment as segments
from agent.checkpoint.keys import full, parse_head_key
from agent.checkpoint.merge import merge
from agent.checkpoint.receipts import Receipts
from agent.checkpoint.save import Saver
from agent.checksum import crc64nvme
from agent.clock import SystemClock
from agent.model.checkpoint import CheckpointId, EntryType
from agent.model.node import BootId, InstanceId, Node, NodeName

CHECKPOINT = CheckpointId("20261123T091500.123Z-1a2b3c4d")
NODE = Node(
    name=NodeName("n1"),
    cluster="test-00000001",
    instance_id=InstanceId("i-1"),
    boot_id=BootId("b"),
    writer="AROA1:i-1",
)
PREFIX = "hpc"
PART = 64 << 10


def a_saver(store, root, executor, **options):
    roots = options.pop("roots", [root])
    fields = {
        "store": store,
        "prefix": PREFIX,
        "node": NODE,
        "checkpoint": CHECKPOINT,
        "reason": "manual",
        "notice": None,
        "roots": roots,
        "exclude": [],
        "receipts": Receipts(None),
        "clock": SystemClock(),
        "chance": SystemChance(),
        "executor": executor,
        "report": lambda _: None,
        "connections": 4,
        "part_size": PART,
        "pack_below": 0,
    }
    return Saver(**(fields | options))


async def stored(store, under=""):
    """Every key below the prefix, without it."""
    return sorted([found.key.removeprefix(f"{PREFIX}/") async for found in store.list(f"{PREFIX}/{under}")])


async def newest_head(store):
    """The head that stands, None when there is none."""
    keys = await stored(store, "checkpoints/")
    newest = max(keys, key=lambda key: int(key.split(".")[-2]), default=None)
    return None if newest is None else heads.decode(await store.get(full(PREFIX, newest)), key=newest)


async def head_of_all(store):
    """The newest head of the newest checkpoint, None when there is none."""
    named = [(parse_head_key(key), key) for key in await stored(store, "checkpoints/")]
    newest = max(named, key=lambda found: (found[0].checkpoint, found[0].n), default=None)
    return None if newest is None else heads.decode(await store.get(full(PREFIX, newest[1])), key=newest[1])


async def directories(store, head):
    bodies = []
    for ref in head.segments:
        body = await store.get(full(PREFIX, ref.key))
        assert (len(body), sha256(body).hexdigest()) == (ref.size, ref.sha256)
        bodies.append(segments.decode(body, key=ref.key, roots=len(head.roots)))
    return list(merge(bodies))


async def tree_of(store, head):
    """What the head holds: path -> what `tree_on_disk` says of it."""
    found = {}
    for directory in await directories(store, head):
        root = head.roots[directory.root]
        here = root + b"/" + directory.path if directory.path else root
        if directory.run == 0:
            found[here] = ("d", *_owner(directory.stat), dict(directory.xattrs))
        for entry in directory.entries:
            found[here + b"/" + entry.name] = await _entry(store, entry)
    return found


async def _entry(store, entry):
    owner = _owner(entry.stat)
    if entry.type is EntryType.SYMLINK:
        return ("l", *owner, entry.target, dict(entry.xattrs))
    if entry.type is not EntryType.FILE:
        return (entry.type.value, *owner)
    data = b""
    if entry.ref:
        data = await store.get(full(PREFIX, entry.ref.key), offset=entry.ref.offset, length=entry.ref.length)
        assert crc64nvme(data) == entry.ref.crc64nvme
    if entry.extents is not None:
        whole, taken = bytearray(entry.stat.size), 0
        for start, length in entry.extents:
            whole[start : start + length] = data[taken : taken + length]
            taken += length
        data = bytes(whole)
    return ("f", *owner, data, dict(entry.xattrs))


def tree_on_disk(*roots):
    found = {}
    for root in map(os.fsencode, roots):
        found[root] = _on_disk(root)
        for above, folders, files in os.walk(root):
            for name in folders + files:
                path = above + b"/" + name
                found[path] = _on_disk(path)
    return found


def _on_disk(path):
    said = os.lstat(path)
    owner = (stat.S_IMODE(said.st_mode), said.st_uid, said.st_gid, said.st_mtime_ns)
    kind = stat.S_IFMT(said.st_mode)
    if kind == stat.S_IFLNK:
        return ("l", *owner, os.readlink(path), _xattrs(path))  # noqa: PTH115 - bytes
    if kind == stat.S_IFDIR:
        return ("d", *owner, _xattrs(path))
    if kind == stat.S_IFREG:
        with open(path, "rb") as file:  # noqa: PTH123 - bytes
            return ("f", *owner, file.read(), _xattrs(path))
    return ({stat.S_IFIFO: "p", stat.S_IFSOCK: "s", stat.S_IFCHR: "c", stat.S_IFBLK: "b"}[kind], *owner)


def _xattrs(path):
    names = os.listxattr(path, follow_symlinks=False)
    return {name: os.getxattr(path, name, follow_symlinks=False) for name in names}


def _owner(found):
    return (found.mode, found.uid, found.gid, found.mtime_ns)


class SetClock:
    """A wall clock that moves a millisecond each time it is asked."""

    def __init__(self):
        self._millis = 0

    def now(self):
        self._millis += 1
        return datetime.fromtimestamp(1_790_000_000 + self._millis / 1000, UTC)
