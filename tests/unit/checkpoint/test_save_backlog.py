import asyncio

import pytest

from agent.checkpoint.backlog import BATCH_BYTES, BATCH_FILES, Backlog
from agent.checkpoint.ledger import Job
from tests.fakes.checkpoints import a_directory, a_file


def a_job(name, size=1):
    return Job(home=a_directory(b"d"), entry=a_file(b"%d" % name, size=size))


def filled(workers, count, size=1):
    backlog = Backlog(workers)
    for number in range(count):
        backlog.put_now(a_job(number, size), is_large=False)
    return backlog


async def test_small_files_come_in_batches_that_leave_each_worker_as_much():
    backlog = filled(4, 40)
    assert len(await backlog.take(large_first=False)) == 40 // 4
    assert len(await filled(4, 5000).take(large_first=False)) == BATCH_FILES
    assert len(await filled(4, 2).take(large_first=False)) == 1


async def test_a_batch_is_bounded_in_bytes():
    assert len(await filled(1, 60, size=BATCH_BYTES // 3).take(large_first=False)) == 3
    assert len(await filled(1, 60, size=5 * BATCH_BYTES).take(large_first=False)) == 1


async def test_each_worker_takes_from_the_other_queue_when_its_own_is_empty():
    backlog = Backlog(2)
    small, large = a_job(1), a_job(2)
    for first in (True, False):
        backlog.put_now(small, is_large=False)
        backlog.put_now(large, is_large=True)
        assert await backlog.take(large_first=first) == [large if first else small]
        assert await backlog.take(large_first=first) == [small if first else large]


async def test_the_walk_waits_while_a_queue_is_full():
    backlog = Backlog(1, limit=2)
    for number in range(2):
        await backlog.put(a_job(number), is_large=False)
    await backlog.put(a_job(9), is_large=True)
    waiting = asyncio.create_task(backlog.put(a_job(3), is_large=False))
    await asyncio.sleep(0)
    assert not waiting.done()
    await backlog.take(large_first=False)
    await asyncio.wait_for(waiting, 1)


async def test_it_ends_when_closed_and_every_job_is_over():
    backlog = filled(2, 1)
    backlog.close()
    (job,) = await backlog.take(large_first=False)
    other = asyncio.create_task(backlog.take(large_first=True))
    await asyncio.sleep(0)
    assert not other.done()
    backlog.put_now(job, is_large=True)  # begun anew
    backlog.finish()
    assert await other == [job]
    backlog.finish()
    assert await backlog.take(large_first=False) is None


@pytest.mark.parametrize("large_first", [True, False])
async def test_an_empty_closed_one_ends_at_once(large_first):
    backlog = Backlog(1)
    backlog.close()
    assert await backlog.take(large_first=large_first) is None
