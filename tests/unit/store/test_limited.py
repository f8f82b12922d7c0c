"""A store with a limit, in simulated time."""

import asyncio

from agent.checksum import crc64nvme
from agent.store.limited import Limited
from agent.store.memory import MemoryStore
from tests.fakes.imds_time import play

MIB = 1 << 20


def test_many_senders_at_once_stay_below_the_limit_together():
    async def scene():
        store, body = Limited(MemoryStore(), bytes_per_second=10 * MIB), bytes(MIB)
        began = asyncio.get_running_loop().time()
        upload = await store.begin("big")
        puts = [store.put(f"k{number}", body, crc64nvme=crc64nvme(body)) for number in range(10)]
        parts = [store.put_part("big", upload, n, body, crc64nvme=crc64nvme(body)) for n in range(1, 12)]
        await asyncio.gather(*puts, *parts)
        return asyncio.get_running_loop().time() - began

    assert abs(play(scene) - 2.0) < 1e-6  # 21 MiB: the last one goes when 20 have had their time


def test_a_pause_is_not_made_up_for_in_a_burst():
    async def scene():
        store, body = Limited(MemoryStore(), bytes_per_second=MIB), bytes(MIB)
        await store.put("a", body, crc64nvme=crc64nvme(body))
        await asyncio.sleep(100)
        began = asyncio.get_running_loop().time()
        for key in "bcd":
            await store.put(key, body, crc64nvme=crc64nvme(body))
        return asyncio.get_running_loop().time() - began

    assert abs(play(scene) - 2.0) < 1e-6


def test_a_copy_that_the_store_makes_waits_for_nobody():
    async def scene():
        store, body = Limited(MemoryStore(), bytes_per_second=MIB), bytes(MIB)
        await store.put("a", body, crc64nvme=crc64nvme(body))
        began = asyncio.get_running_loop().time()
        await store.copy("a", "b", size=MIB, crc64nvme=crc64nvme(body))
        return asyncio.get_running_loop().time() - began

    assert play(scene) == 0.0
