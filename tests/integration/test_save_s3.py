"""Saving into a real S3 server: exact, and exact again after SIGKILL at any moment."""

import asyncio
import os
import random
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from agent.aws.session import open_store
from agent.chance import SystemChance
from agent.checkpoint.keys import new_id
from agent.clock import SystemClock
from agent.model.checkpoint import CheckpointId
from tests.fakes.saved import PREFIX, a_saver, directories, newest_head, tree_of, tree_on_disk
from tests.fakes.saving import COMMIT_SECONDS, CONNECTIONS, PART

pytestmark = pytest.mark.s3
KILLS = 3
SAFE_SECONDS = 5 * COMMIT_SECONDS
"""As in P3, which promises 5 s for a commit each 4 s; here more generous, because the machine is shared."""
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


@pytest.mark.parametrize("seed", range(2))
async def test_p3_p7_killed_at_any_moment_it_restores_and_sends_little_again(root, bucket, tmp_path, seed):
    plant(root, seed)
    disk = tree_on_disk(root)
    size = sum(len(value[-2]) for value in disk.values() if value[0] == "f")
    chance = random.Random(seed)
    checkpoint = CheckpointId(new_id(SystemClock(), SystemChance()))
    begun = 0
    async with open_store(bucket=bucket) as store:
        for kill_after in (*(chance.uniform(0, 2) for _ in range(KILLS)), None):
            said, killed_at = await one_life(bucket, root, tmp_path / "receipts", checkpoint, kill_after)
            begun += sum(int(words[1]) for words in said if words[0] == "begin")
            safe = {words[2].removeprefix(f"{PREFIX}/") for words in said if words[0] == "done"}
            if kill_after is not None:
                safe = {words[2] for words in said if words[0] == "done" and float(words[1]) < killed_at - SAFE_SECONDS}
            head = await newest_head(store)
            if head is None:
                assert not safe
                continue
            assert (await tree_of(store, head)).items() <= disk.items()
            keys = {entry.ref.key for found in await directories(store, head) for entry in found.entries if entry.ref}
            assert {key.removeprefix(f"{PREFIX}/") for key in safe} <= keys
        assert said[-1][0] == "committed"
        assert head.complete
        assert await tree_of(store, head) == disk
    assert begun <= size + KILLS * CONNECTIONS * PART
