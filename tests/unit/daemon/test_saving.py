"""What saving needs on the node, looked at without ever being held up."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from agent.daemon import saving
from agent.daemon.capabilities import Capabilities, Name
from agent.daemon.saving import Saving, forget_receipts
from agent.model.checkpoint import CheckpointId
from agent.settings import load
from tests.fakes.imds_time import LoopClock


def looked(tmp_path, executor, **environ):
    config = tmp_path / "config.toml"
    config.write_text(f'[scratch]\npaths = ["{tmp_path}/scratch"]\nrequire_mount = false\n[s3]\nbucket = "bucket"\n')
    capabilities = Capabilities(LoopClock(), lambda name, known: None)
    settings = load(config, environ)
    return Saving(settings, capabilities=capabilities, directory=tmp_path, executor=executor), capabilities


@pytest.fixture
def executor():
    with ThreadPoolExecutor(4) as threads:
        yield threads


async def test_a_scratch_and_a_bucket_are_all_it_needs(tmp_path, executor):
    (tmp_path / "scratch").mkdir()
    one, capabilities = looked(tmp_path, executor)
    assert await one.refusal() is None
    assert capabilities[Name.SCRATCH].on


async def test_p6_a_scratch_that_comes_later_is_seen(tmp_path, executor):
    one, _ = looked(tmp_path, executor)
    assert "no such directory" in (await one.refusal()).detail
    (tmp_path / "scratch").mkdir()
    assert await one.refusal() is None


async def test_p6_without_a_bucket_nothing_can_be_saved(tmp_path, executor):
    (tmp_path / "scratch").mkdir()
    one, _ = looked(tmp_path, executor, HPC_AGENT_S3__BUCKET="")
    assert "no bucket" in (await one.refusal()).detail


async def test_trap_33_a_directory_that_is_no_mount_is_refused(tmp_path, executor):
    (tmp_path / "scratch").mkdir()
    one, _ = looked(tmp_path, executor, HPC_AGENT_SCRATCH__REQUIRE_MOUNT="true")
    assert "nothing is mounted there" in (await one.refusal()).detail


async def test_p6_a_dead_disk_holds_up_one_thread_and_nobody_else(tmp_path, executor):
    one, capabilities = looked(tmp_path, executor)
    disk_is_back, looks = threading.Event(), []

    def check():
        looks.append(None)
        disk_is_back.wait(10)
        return 0

    one._check_scratch = check
    limit, saving.LOOK_SECONDS = saving.LOOK_SECONDS, 0.05
    try:
        for _ in range(3):
            await one.look()
            assert capabilities[Name.SCRATCH].on is False
        assert len(looks) == 1
        disk_is_back.set()
        await asyncio.sleep(0.05)
        await one.look()
        assert capabilities[Name.SCRATCH].on
    finally:
        saving.LOOK_SECONDS = limit
        disk_is_back.set()


def test_only_receipts_of_the_past_are_forgotten(tmp_path):
    keep = CheckpointId("20261123T091500.000Z-1a2b3c4d")
    for name in (f"{keep}.receipts.jsonl", "20261122T091500.000Z-00000000.receipts.jsonl", "journal.jsonl"):
        (tmp_path / name).write_text("")
    forget_receipts(tmp_path, keep)
    assert {path.name for path in tmp_path.iterdir()} == {f"{keep}.receipts.jsonl", "journal.jsonl"}
