"""A node whose scratch is saved again and again, and a tree to begin with."""

import os
from datetime import UTC, datetime, timedelta

from agent.checkpoint.cache import Cache
from agent.checkpoint.opening import Opening
from agent.checkpoint.scan import scan
from agent.store.memory import MemoryStore
from tests.fakes.saved import PREFIX, a_saver, stored

CHECKPOINTS = [f"20261123T0915{number:02}.000Z-1a2b3c4d" for number in range(60)]


class Later:
    """A wall clock two minutes ahead: files that were written just now are at rest."""

    def now(self):
        return datetime.now(UTC) + timedelta(minutes=2)


class Days:
    """A wall clock so many days ahead."""

    def __init__(self, days):
        self._ahead = timedelta(days=days)

    def now(self):
        return datetime.now(UTC) + self._ahead


class Node:
    """A node whose scratch is saved again and again: each time another checkpoint, over what its disk knows."""

    def __init__(self, directory, executor):
        self.root = directory / "scratch"
        self.root.mkdir()
        self.store = MemoryStore(smallest_part=1)
        self._state = directory / "base"
        self._executor = executor
        self._ids = iter(CHECKPOINTS)

    @property
    def cache(self):
        return Cache(self._state, place="s3://bucket/hpc")

    def saver(self, **options):
        fields = {"checkpoint": next(self._ids), "cache": self.cache, "clock": Later()} | options
        return a_saver(fields.pop("store", self.store), self.root, self._executor, **fields)

    async def save(self, **options):
        saver = self.saver(**options)
        await saver.copy()
        return (await saver.commit()).head

    async def objects(self):
        return [key for key in await stored(self.store, "data/") if "/seg-" not in key]

    async def scan(self, *, clock=Later()):  # noqa: B008 - it holds nothing
        opening = Opening(store=self.store, prefix=PREFIX, cache=self.cache, executor=self._executor, clock=clock)
        return await scan(roots=[self.root], exclude=[], opening=opening, executor=self._executor)


def plant(root):
    for name in ("a", "a/b", "empty", "c"):
        (root / name).mkdir()
    for number in range(20):
        (root / "a" / f"{number:02}").write_bytes(b"%d" % number)
    (root / "a" / "b" / "deep").write_bytes(b"deep")
    (root / "c" / "file").write_bytes(b"c")
    (root / "link").symlink_to("nowhere")
    os.link(root / "c" / "file", root / "a" / "hard")
