"""What was saved from a real disk comes back as it was, through a real S3 server too, and after SIGKILL too."""

import asyncio
import os
import random
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from agent.aws.session import open_store
from agent.checkpoint.restore import Restorer
from agent.checkpoint.verify import verify
from agent.store.memory import MemoryStore
from tests.fakes.saved import CHECKPOINT, PREFIX, a_saver
from tests.fakes.shelf import described

PROJECT = Path(__file__).parents[2]
MIB = 1 << 20

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="owners are for root")


@pytest.fixture
def executor():
    with ThreadPoolExecutor(8) as pool:
        yield pool


@pytest.fixture
def root(tmp_path):
    path = tmp_path / "scratch"
    path.mkdir()
    plant(path)
    return path


@pytest.fixture
async def bucket(s3_server, monkeypatch):
    for name, value in s3_server.environment.items():
        monkeypatch.setenv(name, value)
    return await s3_server.make_bucket()


def plant(root):
    """A tree with everything that P2 names."""
    chance = random.Random(7)
    for number in range(80):
        folder = root / f"d{number % 7}" / f"e{number % 3}"
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"file {number}"
        path.write_bytes(chance.randbytes(chance.randrange(1, 60_000)))
        path.chmod(chance.choice([0o600, 0o644, 0o4755, 0o2711, 0o000]))
        os.chown(path, 1000 + number % 3, 2000)
        os.utime(path, ns=(1, 1_600_000_000_000_000_000 + number * 1_000_000_007))
    (root / "big").write_bytes(chance.randbytes(20 * MIB + 3))
    os.chown(root / "d1", 4242, 4343)
    os.link(root / "big", root / "d2" / "big again")
    os.link(root / "d0/e0/file 0", root / "d3" / "zero again")
    (root / os.fsdecode(b"odd \xff\n+ %&=?")).write_bytes(b"odd")
    (root / "link").symlink_to(os.fsdecode(b"nowhere/\xfe"))
    os.chown(root / "link", 5, 6, follow_symlinks=False)
    os.utime(root / "link", ns=(1, 123_456_789_012_345_678), follow_symlinks=False)
    (root / "empty").touch()
    (root / "nothing in here").mkdir(mode=0o1777)
    os.setxattr(root / "big", "user.made-by", b"\0job")
    os.setxattr(root / "d4", "user.kind", b"folder")
    subprocess.run(["setfacl", "-m", "u:4242:rw", root / "empty"], check=True)
    subprocess.run(["setfacl", "-d", "-m", "u:4242:rwx", root / "d5"], check=True)
    with (root / "sparse").open("wb") as file:
        file.seek(3 * MIB)
        file.write(b"island")
        file.truncate(50 * MIB)
    (root / "all hole").touch()
    os.truncate(root / "all hole", 9 * MIB)
    for number in range(7):
        os.utime(root / f"d{number}", ns=(1, 1_500_000_000_000_000_000 + number))


async def saved(store, root, executor):
    saver = a_saver(store, root, executor, part_size=5 * MIB)
    await saver.copy()
    return await saver.commit()


def a_restorer(store, target, executor):
    return Restorer(store, PREFIX, target=target, executor=executor, owner=True, connections=4)


async def test_p2_what_was_saved_comes_back_as_it_was(root, tmp_path, executor):
    store = MemoryStore()
    before = described(root)
    commit = await saved(store, root, executor)
    restored = await a_restorer(store, tmp_path / "to", executor).restore(commit)
    assert described(tmp_path / "to") == before
    assert restored.problems == ()
    assert (restored.files, restored.directories) == (commit.head.totals.files, commit.head.totals.directories)
    assert (tmp_path / "to/sparse").stat().st_blocks < 1000


async def test_p2_sockets_and_pipes_are_left_out_and_counted(root, tmp_path, executor):
    os.mkfifo(root / "pipe")
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(root / "s"))
        store = MemoryStore()
        restored = await a_restorer(store, tmp_path / "to", executor).restore(await saved(store, root, executor))
    assert restored.not_made == 2
    assert not (tmp_path / "to/pipe").exists()


async def test_a_second_restore_changes_nothing_and_fetches_nothing(root, tmp_path, executor):
    store = MemoryStore()
    commit = await saved(store, root, executor)
    await a_restorer(store, tmp_path / "to", executor).restore(commit)
    before = described(tmp_path / "to")
    restored = await a_restorer(store, tmp_path / "to", executor).restore(commit)
    assert (restored.files, restored.bytes, restored.problem_count) == (0, 0, 0)
    assert described(tmp_path / "to") == before


@pytest.mark.parametrize("deep", [False, True])
async def test_what_was_saved_verifies(root, executor, deep):
    store = MemoryStore()
    commit = await saved(store, root, executor)
    found = await verify(store, PREFIX, commit, executor=executor, deep=deep)
    assert found.problems == ()
    assert found.files > 80


@pytest.mark.s3
async def test_p2_through_a_real_server_too(root, tmp_path, executor, bucket):
    before = described(root)
    async with open_store(bucket=bucket, connections=5) as store:
        commit = await saved(store, root, executor)
        restored = await a_restorer(store, tmp_path / "to", executor).restore(commit)
        assert restored.problems == ()
        for deep in (False, True):
            assert (await verify(store, PREFIX, commit, executor=executor, deep=deep)).problems == ()
    assert described(tmp_path / "to") == before


@pytest.mark.s3
async def test_p3_a_restore_that_is_killed_is_run_again_and_exact(root, tmp_path, executor, bucket):
    before = described(root)
    async with open_store(bucket=bucket, connections=5) as store:
        await saved(store, root, executor)
    target = tmp_path / "to"
    for kill_after in (0.01, 0.03, 0.06, 0.1):
        child = await started(bucket, target)
        await child.stdout.readline()
        await asyncio.sleep(kill_after)
        if child.returncode is None:
            child.kill()
        await asyncio.wait_for(child.wait(), 20)
        for path, said in described(target).items() if target.exists() else ():
            if said["link"] is not None and b".hpc-agent-restore-" not in path:
                assert said["content"] == before[path]["content"]
    child = await started(bucket, target)
    said, _ = await asyncio.wait_for(child.communicate(), 60)
    assert said.split()[-1] == b"0", said
    assert described(target) == before


async def started(bucket, target):
    return await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "tests.fakes.restoring", bucket, CHECKPOINT, str(target)),
        stdout=asyncio.subprocess.PIPE,
        cwd=PROJECT,
    )
