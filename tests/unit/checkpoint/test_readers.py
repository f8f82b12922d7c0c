import asyncio
import os
from concurrent.futures import ThreadPoolExecutor

import pytest

from agent.checkpoint.packing import Packed
from agent.checkpoint.readers import Readers
from agent.store.memory import MemoryStore
from tests.fakes.saved import a_saver


class Disk:
    """Packs that take a while to be read, from memory or from a disk."""

    def __init__(self, *, from_disk):
        self.from_disk = from_disk
        self.now = self.most = 0

    async def read(self):
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            await asyncio.sleep(0.001)
        finally:
            self.now -= 1
        return Packed(key="k", buffer=bytearray(), from_disk=self.from_disk)


async def read(readers, disk, count=40):
    disk.most = 0
    async with asyncio.TaskGroup() as crew:
        for _ in range(count):
            crew.create_task(readers.read(disk.read))
    return disk.most


async def test_files_in_memory_are_read_into_one_pack_at_a_time():
    assert await read(Readers(12), Disk(from_disk=False)) == 1


async def test_files_on_a_disk_are_read_into_all_packs_at_once_and_one_again_when_they_are_in_memory():
    readers, disk = Readers(12), Disk(from_disk=True)
    assert await read(readers, disk) == 12
    disk.from_disk = False
    await read(readers, disk)
    assert await read(readers, disk) == 1


@pytest.mark.parametrize("from_disk", [False, True])
async def test_a_pack_that_is_cut_or_fails_leaves_its_turn_to_the_others(from_disk):
    readers, disk = Readers(3), Disk(from_disk=from_disk)
    expected = await read(readers, disk)
    for cut in range(1, 4):
        tasks = [asyncio.create_task(readers.read(disk.read)) for _ in range(10)]
        await asyncio.sleep(0)
        for task in tasks[::cut]:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def fail():
        raise OSError("no")

    with pytest.raises(OSError, match="no"):
        await readers.read(fail)
    assert await read(readers, disk) == expected


async def test_a_pack_tells_whether_its_files_came_from_the_disk(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(os.urandom(100_000))
    with path.open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    said = []
    with ThreadPoolExecutor(6) as executor:
        for _ in range(2):
            saver = a_saver(MemoryStore(), tmp_path, executor, pack_below=200_000, pack_size=400_000)
            packing = saver._sending._packing
            pack = packing.pack
            packing.pack = lambda jobs, key, pack=pack: said.append(packed := pack(jobs, key)) or packed
            await saver.copy()
    assert [packed.from_disk for packed in said] == [True, False]
