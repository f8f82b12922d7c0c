"""The journal: what the next start reads, whatever happened to the file."""

import asyncio
import contextlib
import json
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import pytest

from agent import journal as journals
from agent.evacuation.events import Started
from agent.evacuation.phases import Phase
from agent.evacuation.record import Record, RecordInvalid
from agent.evacuation.state import Effects, Evacuation
from agent.journal import Journal, last_state
from agent.model.checkpoint import CheckpointId
from agent.model.mode import Mode
from agent.model.node import BootId

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
BOOT = BootId("1a2b3c4d-0000")
ACT = Effects.of(Mode.ACT)


def record(number, phase=Phase.COPYING):
    return Record(
        number=number,
        event=Started(at=1.0, wall=NOON, fresh=CheckpointId("20261123T120000.000Z-1a2b3c4d")),
        state=Evacuation(effects=ACT, phase=phase, entered={phase: 1.0}),
    )


async def written(path, records, broken=None):
    said = [] if broken is None else broken
    with ThreadPoolExecutor(1) as executor:
        journal = Journal(path, boot_id=BOOT, executor=executor, broken=said.append)
        task = asyncio.create_task(journal.run())
        for one in records:
            journal.append(one)
            await asyncio.sleep(0)
        await asyncio.sleep(0.05)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


def read(path, boot=BOOT):
    return last_state(path, boot_id=boot, effects=ACT)


async def test_p7_the_last_record_is_the_state(tmp_path):
    path = tmp_path / "journal.jsonl"
    await written(path, [record(1, Phase.DRAINING), record(2, Phase.COPYING)])
    assert read(path).phase is Phase.COPYING
    assert path.stat().st_mode & 0o777 == 0o600


async def test_what_is_pending_when_the_agent_ends_is_written(tmp_path):
    path = tmp_path / "journal.jsonl"
    with ThreadPoolExecutor(1) as executor:
        journal = Journal(path, boot_id=BOOT, executor=executor, broken=lambda error: None)
        task = asyncio.create_task(journal.run())
        await asyncio.sleep(0)
        journal.append(record(1))
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
    assert read(path).phase is Phase.COPYING


async def test_p7_a_last_line_cut_by_a_kill_is_passed_over(tmp_path):
    path = tmp_path / "journal.jsonl"
    await written(path, [record(1, Phase.DRAINING), record(2, Phase.COPYING)])
    whole = path.read_bytes()
    for cut in range(len(whole) - 2, len(whole) - 60, -7):
        path.write_bytes(whole[:cut])
        assert read(path).phase is Phase.DRAINING


async def test_p7_what_is_written_after_a_cut_line_can_be_read(tmp_path):
    path = tmp_path / "journal.jsonl"
    await written(path, [record(1, Phase.DRAINING)])
    path.write_bytes(path.read_bytes() + b'{"boot": "cut he')
    await written(path, [record(2, Phase.COPYING)])
    assert read(path).phase is Phase.COPYING


async def test_another_boot_begins_anew(tmp_path):
    path = tmp_path / "journal.jsonl"
    await written(path, [record(1)])
    assert read(path, BootId("ffffffff-0000")) is None


def test_no_journal_is_no_state(tmp_path):
    assert read(tmp_path / "none.jsonl") is None


@pytest.mark.parametrize("change", [{"schema": 99}, {"state": {}}, {"state": {"phase": "flying"}}])
async def test_a_record_of_another_version_is_not_replayed(tmp_path, change):
    path = tmp_path / "journal.jsonl"
    await written(path, [record(1)])
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(RecordInvalid):
        read(path)


async def test_a_link_in_the_place_of_the_journal_is_not_followed(tmp_path):
    path = tmp_path / "journal.jsonl"
    (tmp_path / "precious").write_text("mine")
    path.symlink_to(tmp_path / "precious")
    broken = []
    await written(path, [record(1)], broken)
    assert (tmp_path / "precious").read_text() == "mine"
    assert broken[0] is not None


async def test_p6_a_full_disk_is_told_and_stops_nothing():
    broken = []
    with ThreadPoolExecutor(1) as executor:
        journal = Journal(journals.Path("/dev/full/journal"), boot_id=BOOT, executor=executor, broken=broken.append)
        task = asyncio.create_task(journal.run())
        journal.append(record(1))
        await asyncio.sleep(0.05)
        assert not task.done()
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
    assert broken[0].hint


async def test_a_journal_that_grew_large_begins_anew_with_its_last_record(tmp_path):
    path = tmp_path / "journal.jsonl"
    path.write_bytes(b"x" * (journals.LARGEST + 1) + b"\n")
    await written(path, [record(1)])
    assert path.stat().st_size < 4096
    assert read(path).phase is Phase.COPYING
