"""Checkpoints put into a store by hand: any segments, any bytes, so that also what no saver writes can be restored."""

import hashlib
import os
import stat
from dataclasses import replace
from pathlib import Path

from agent.checkpoint import head as heads
from agent.checkpoint.keys import HeadKey, full, head_key, pack_key, segment_key
from agent.checkpoint.segment import encode
from agent.checksum import crc64nvme
from agent.model.checkpoint import CheckpointId, Commit, SegmentRef
from agent.store.memory import MemoryStore
from tests.fakes.checkpoints import PASS, a_file, a_head, a_ref

WRITER = "AROA:i-0123"


class Shelf:
    """A store with what is put on it."""

    def __init__(self, store=None, prefix="pre"):
        self.store = store or MemoryStore()
        self.prefix = prefix
        self.numbers = iter(range(1, 100_000))

    async def put(self, key, data):
        await self.store.put(full(self.prefix, key), data, crc64nvme=crc64nvme(data))

    async def files(self, contents, **changed):
        """Put the contents into one pack and return an entry for each, in order of the names."""
        key = pack_key(writer=WRITER, pass_id=PASS, counter=next(self.numbers))
        pack, entries = b"", []
        for name, data in sorted(contents.items()):
            ref = a_ref(len(data), key=key, offset=len(pack) + 512, crc64nvme=crc64nvme(data)) if data else None
            pack += bytes(512) + data
            entries.append(a_file(name, size=len(data), ref=ref, **ours(), **changed))
        await self.put(key, pack)
        return entries

    async def file(self, name, data, **changed):
        [entry] = await self.files({name: data}, **changed)
        return entry

    async def commit(self, *layers, **changed):
        """Put a segment of each layer, oldest first, and a head; return the commit."""
        blobs = [layer if isinstance(layer, bytes) else encode(layer) for layer in layers]
        segments = []
        for blob in blobs:
            key = segment_key(writer=WRITER, pass_id=PASS, n=next(self.numbers))
            await self.put(key, blob)
            sha256 = hashlib.sha256(blob).hexdigest()
            segments.append(SegmentRef(key=key, size=len(blob), sha256=sha256, directories=0, entries=0))
        head = a_head(**({"segments": tuple(segments)} | changed))
        return await self.commit_head(head)

    async def commit_head(self, head):
        blob = heads.encode(head)
        key = head_key(
            HeadKey(cluster=head.cluster, node=head.node, writer=head.writer, checkpoint=head.checkpoint, n=head.n)
        )
        await self.put(key, blob)
        return Commit(head=head, key=key, digest=heads.digest(blob))

    def damage(self, key, at=0):
        """Turn a bit of an object round, as a disk would."""
        place = full(self.prefix, key)
        found = self.store._objects[place]
        data = bytearray(found.data)
        data[at] ^= 1
        self.store._objects[place] = replace(found, data=bytes(data))

    def cut(self, key, size):
        place = full(self.prefix, key)
        self.store._objects[place] = replace(self.store._objects[place], data=self.store._objects[place].data[:size])

    def lose(self, key):
        del self.store._objects[full(self.prefix, key)]


def ours():
    return {"uid": os.getuid(), "gid": os.getgid()}


def an_id(number):
    return CheckpointId(f"20261123T0915{number:02}.123Z-1a2b3c4d")


def names(folder):
    return sorted(path.name for path in Path(folder).iterdir())


def described(top):
    """Everything that a restore has to give back, by path; hard links by their first name."""
    top = os.fsencode(top)
    found, first = {}, {}
    for folder, folders, files in os.walk(top):
        for name in [b"", *folders, *files]:
            path = folder + b"/" + name if name else folder
            said = os.lstat(path)
            if name in folders and stat.S_ISDIR(said.st_mode):
                continue
            short = os.path.relpath(path, top)
            found[short] = {
                "type": stat.S_IFMT(said.st_mode),
                "mode": stat.S_IMODE(said.st_mode),
                "owner": (said.st_uid, said.st_gid),
                "mtime": said.st_mtime_ns,
                "xattrs": {n: os.getxattr(path, n, follow_symlinks=False) for n in _listed(path)},
                "content": _content(path, said),
                "link": first.setdefault(said.st_ino, short) if stat.S_ISREG(said.st_mode) else None,
            }
    return found


def _listed(path):
    return [name for name in os.listxattr(path, follow_symlinks=False) if not name.startswith("security.selinux")]


def _content(path, said):
    if stat.S_ISLNK(said.st_mode):
        return os.readlink(path)  # noqa: PTH115 - bytes
    if stat.S_ISREG(said.st_mode):
        return Path(os.fsdecode(path)).read_bytes()
    return None
