"""Saving into a real S3 server: exact, and exact again after SIGKILL at any moment."""

import asyncio
import os
import random
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest

from agent.aws.session import open_store
from agent.chance import SystemChance
from agent.checkpoint import head as heads
from agent.checkpoint.cache import Cache
from agent.checkpoint.keys import full, new_id
from agent.clock import SystemClock
from agent.model.checkpoint import CheckpointId
from agent.store.counted import Counted
from tests.fakes.saved import PREFIX, a_saver, directories, head_of_all, newest_head, stored, tree_of, tree_on_disk
from tests.fakes.saved_again import Days
from tests.fakes.saving import COMMIT_SECONDS, CONNECTIONS, PART

pytestmark = pytest.mark.s3
SAFE_SECONDS = 5 * COMMIT_SECONDS
"""As in P3, which promises 5 s for a commit each 4 s; here more generous, because the machine is shared."""
HEADER = 4 * 512
"""Of a file in a pack: more than its header and what it is filled up with."""
PROJECT = Path(__file__).parents[2]


@pytest.fixture
def executor():
    with ThreadPoolExecutor(18) as pool:
        yield pool


@pytest.fixture
def root(tmp_path):
    path = tmp_path / "scratch"
    path.mkdir()
    return path


@pytest.fixture
async def bucket(s3_server, monkeypatch):
    for name, value in s3_server.environment.items():
        monkeypatch.setenv(name, value)
    return await s3_server.make_bucket()


def plant(root, seed):
    chance = random.Random(seed)
    for number in range(60):
        (root / f"d{number % 5}").mkdir(exist_ok=True)
        (root / f"d{number % 5}" / f"{number}").write_bytes(chance.randbytes(chance.randrange(40_000)))
    for number in range(2):
        (root / f"big{number}").write_bytes(chance.randbytes(3 * PART + 1000 * number + 1))
    (root / os.fsdecode(b"odd\xff\n+ %&=?")).write_bytes(b"odd")
    (root / "link").symlink_to("d0")
    (root / "d0" / "empty").touch()


async def test_p2_a_tree_in_s3_is_the_tree_on_the_disk(root, bucket, executor):
    plant(root, 1)
    async with open_store(bucket=bucket, connections=9) as store:
        saver = a_saver(store, root, executor, connections=8, part_size=PART)
        await saver.copy()
        commit = await saver.commit()
        assert commit.head.complete
        assert await tree_of(store, commit.head) == tree_on_disk(root)
        assert commit.head == await newest_head(store)


async def test_p3_what_is_too_old_to_be_referred_to_is_copied_by_the_store(root, bucket, tmp_path, executor):
    plant(root, 2)
    cache = Cache(tmp_path / "base", place=bucket)
    async with open_store(bucket=bucket, connections=9) as opened:
        store = Counted(opened)
        for day in (0.1, 5, 8):
            (root / f"{day}").write_bytes(b"%f" % day)
            sent_before = store.snapshot()["bytes_up"]
            checkpoint = new_id(Days(day), SystemChance())
            how = {"cache": cache, "clock": Days(day), "refresh_after": timedelta(days=7), "checkpoint": checkpoint}
            saver = a_saver(store, root, executor, connections=8, part_size=PART, pack_below=10_000, **how)
            await saver.copy()
            commit = await saver.commit()
        assert (commit.head.complete, saver.trouble) == (True, ())
        assert await tree_of(opened, commit.head) == tree_on_disk(root)
        said = store.snapshot()
        assert said["requests"]["copy"]["ok"] > 2
        assert said["bytes_up"] - sent_before < PART


async def one_life(bucket, root, receipts, checkpoint, kill_after):
    """Run the copier, kill it so many seconds after it began to send; return what it said and when it was killed."""
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "tests.fakes.saving", bucket, str(root), str(receipts), checkpoint),
        stdout=asyncio.subprocess.PIPE,
        cwd=PROJECT,
    )
    first = await child.stdout.readline()
    if kill_after is not None:
        await asyncio.sleep(kill_after)
        if child.returncode is None:
            child.kill()
    killed_at = time.monotonic()
    async with asyncio.timeout(60):
        rest, _ = await child.communicate()
    return [line.split() for line in (first + rest).decode().splitlines()], killed_at


class Reader:
    """What is in the bucket; each object is fetched once: none is ever overwritten."""

    def __init__(self, store):
        self._objects = {}
        self._store = store
        self.list = store.list

    async def get(self, key, *, offset=0, length=None):
        if key not in self._objects:
            self._objects[key] = await self._store.get(key)
        return self._objects[key][offset : None if length is None else offset + length]


class Rescues:
    """Checkpoints of one tree, each over the one before, by a copier that is killed again and again."""

    def __init__(self, store, bucket, root, state, seed):
        self._store = Reader(store)
        self._bucket = bucket
        self._root = root
        self._receipts = state / "receipts"
        self._chance = random.Random(seed)
        self._before = {}
        self._heads = set()
        self.cuts = 0

    async def one(self, most_cuts):
        """Make one checkpoint; check after each cut, and at its end."""
        disk = tree_on_disk(self._root)
        changed = [path for path, value in disk.items() if value[0] == "f" and self._before.get(path) != value]
        size = sum(len(disk[path][-2]) for path in changed)
        checkpoint = CheckpointId(new_id(SystemClock(), SystemChance()))
        begun, safe, cuts = 0, set(), 0
        while True:
            kill_after = self._chance.uniform(0, 1.5) if cuts < most_cuts else None
            said, killed_at = await one_life(self._bucket, self._root, self._receipts, checkpoint, kill_after)
            begun += sum(int(words[1]) for words in said if words[0] == "begin")
            is_whole = said[-1][0] == "committed"
            done = {words[2].removeprefix(f"{PREFIX}/"): float(words[1]) for words in said if words[0] == "done"}
            safe |= {key for key, at in done.items() if is_whole or at < killed_at - SAFE_SECONDS}
            head = await self._check_heads(disk)
            stored = set() if head is None else await self._keys(head)
            assert safe <= stored
            if is_whole:
                break
            cuts += 1
        assert head.complete
        assert await tree_of(self._store, head) == disk
        assert begun <= size + len(changed) * HEADER + cuts * CONNECTIONS * PART
        self.cuts += cuts
        self._before = disk

    async def _check_heads(self, disk):
        """Each head that is new holds nothing but what is on the disk or was before; return the newest one."""
        for key in set(await stored(self._store, "checkpoints/")) - self._heads:
            self._heads.add(key)
            head = heads.decode(await self._store.get(full(PREFIX, key)), key=key)
            tree = await tree_of(self._store, head)
            for path, value in tree.items():
                assert value in (disk.get(path), self._before.get(path)), (key, path)
            for path, value in self._before.items():
                assert tree.get(path) == value or disk.get(path) != value, (key, path)
        return await head_of_all(self._store)

    async def _keys(self, head):
        found = await directories(self._store, head)
        return {entry.ref.key for directory in found for entry in directory.entries if entry.ref}

    def change(self):
        """What jobs do between two checkpoints."""
        for number in range(60):
            path = self._root / f"d{number % 5}" / f"{number}"
            match self._chance.randrange(6):
                case 0:
                    path.write_bytes(self._chance.randbytes(self._chance.randrange(40_000)))
                case 1:
                    path.unlink(missing_ok=True)
        with (self._root / "big0").open("r+b") as file:
            file.write(self._chance.randbytes(10))
        new = self._root / f"new{self._chance.randrange(9)}"
        new.mkdir(exist_ok=True)
        (new / "big").write_bytes(self._chance.randbytes(PART + 7))


@pytest.mark.parametrize("seed", range(2))
async def test_p3_p7_killed_at_any_moment_it_restores_and_sends_little_again(root, bucket, tmp_path, seed):
    plant(root, seed)
    async with open_store(bucket=bucket) as store:
        rescues = Rescues(store, bucket, root, tmp_path, seed)
        await rescues.one(2)
        rescues.change()
        await rescues.one(1)


@pytest.mark.slow
@pytest.mark.timeout(1800)
async def test_p3_p7_killed_at_fifty_moments_every_head_restores(root, bucket, tmp_path):
    plant(root, 50)
    async with open_store(bucket=bucket) as store:
        rescues = Rescues(store, bucket, root, tmp_path, 50)
        while rescues.cuts < 50:
            await rescues.one(5)
            rescues.change()
