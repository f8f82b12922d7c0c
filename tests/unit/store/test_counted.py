"""Counting: every request once, by how it ended; bytes only when the store has them."""

import json

import pytest

from agent.checksum import crc64nvme
from agent.store.base import (
    BodyRefused,
    ObjectExists,
    ObjectMissing,
    StoreDenied,
    StoreUnavailable,
    UploadMissing,
)
from agent.store.counted import Counted, Operation, Outcome
from agent.store.memory import MemoryStore
from tests.fakes.flaky_store import Failure, FlakyStore

BODY = b"body"
CRC = crc64nvme(BODY)


def counted(failures=None):
    return Counted(FlakyStore(MemoryStore(smallest_part=1), failures))


def test_every_operation_and_outcome_is_there_from_the_start():
    snapshot = counted().snapshot()
    assert set(snapshot["requests"]) == {op.value for op in Operation}
    assert all(set(ends) == {end.value for end in Outcome} for ends in snapshot["requests"].values())
    assert not any(count for ends in snapshot["requests"].values() for count in ends.values())


async def test_each_call_counts_once_and_bytes_go_both_ways():
    store = counted()
    await store.put("a", memoryview(BODY), crc64nvme=CRC)
    upload = await store.begin("b")
    part = await store.put_part("b", upload, 1, BODY, crc64nvme=CRC)
    await store.parts("b", upload)
    await store.complete("b", upload, [part], crc64nvme=CRC)
    await store.abort("b", upload)
    await store.get("a", offset=1)
    await store.head("a")
    await store.copy("a", "c", size=len(BODY), crc64nvme=CRC)
    assert sorted([found.key async for found in store.list("")]) == ["a", "b", "c"]
    snapshot = store.snapshot()
    assert {op: ends["ok"] for op, ends in snapshot["requests"].items()} == dict.fromkeys(snapshot["requests"], 1)
    assert (snapshot["bytes_up"], snapshot["bytes_down"]) == (2 * len(BODY), len(BODY) - 1)


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (StoreUnavailable("put", "a", "503"), "unavailable"),
        (StoreDenied("put", "a", "403"), "denied"),
        (ObjectMissing("put", "a", "404"), "missing"),
        (ObjectExists("put", "a", "412"), "exists"),
        (BodyRefused("put", "a", "400"), "refused"),
        (UploadMissing("put", "a", "404"), "upload_missing"),
        (RuntimeError("a bug"), "other"),
    ],
)
async def test_a_failure_counts_as_what_it_was_and_its_bytes_do_not(error, outcome):
    store = counted({1: Failure(error=error)})
    with pytest.raises(type(error)):
        await store.put("a", BODY, crc64nvme=CRC)
    snapshot = store.snapshot()
    assert snapshot["requests"]["put"][outcome] == 1
    assert sum(snapshot["requests"]["put"].values()) == 1
    assert snapshot["bytes_up"] == 0


async def test_a_snapshot_is_json_and_does_not_change_later():
    store = counted()
    before = store.snapshot()
    await store.put("a", BODY, crc64nvme=CRC)
    assert before["requests"]["put"]["ok"] == 0
    assert json.loads(json.dumps(store.snapshot())) == store.snapshot()
