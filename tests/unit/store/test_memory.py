"""What the store in memory does beside the contract."""

import pytest

from agent.checksum import crc64nvme
from agent.store.base import StoreDenied, UploadMissing
from agent.store.memory import MemoryStore

BODY = b"body"
CRC = crc64nvme(BODY)


async def test_a_test_may_have_small_parts():
    store = MemoryStore(smallest_part=2)
    upload = await store.begin("a")
    parts = [await store.put_part("a", upload, number, BODY, crc64nvme=CRC) for number in (1, 2)]
    await store.complete("a", upload, parts, crc64nvme=crc64nvme(BODY + BODY))
    assert await store.get("a") == BODY + BODY


@pytest.mark.parametrize("number", [0, 10_001])
async def test_a_part_number_out_of_range_is_refused(number):
    store = MemoryStore()
    upload = await store.begin("a")
    with pytest.raises(StoreDenied):
        await store.put_part("a", upload, number, BODY, crc64nvme=CRC)


async def test_parts_out_of_order_do_not_complete():
    store = MemoryStore(smallest_part=1)
    upload = await store.begin("a")
    parts = [await store.put_part("a", upload, number, BODY, crc64nvme=CRC) for number in (1, 2)]
    with pytest.raises(UploadMissing):
        await store.complete("a", upload, parts[::-1], crc64nvme=CRC)


async def test_a_caller_that_reuses_its_buffer_does_not_change_what_is_stored():
    store, buffer = MemoryStore(), bytearray(BODY)
    await store.put("a", memoryview(buffer), crc64nvme=CRC)
    buffer[:] = b"else"
    assert await store.get("a") == BODY
