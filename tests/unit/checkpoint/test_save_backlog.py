import asyncio
from types import SimpleNamespace

import pytest

from agent.checkpoint import lane
from agent.checkpoint.backlog import Backlog
from agent.checkpoint.horizon import Horizon
from agent.checkpoint.lane import PACK_FILES, PACK_SECONDS
from agent.checkpoint.ledger import Job
from agent.checkpoint.pack import BLOCK
from tests.fakes.checkpoints import a_directory, a_file
from tests.fakes.imds_time import play

KIB = 1 << 10
SMALL, SINGLE, LARGE = 1, 100 * KIB, 1000 * KIB
PACK, ALONE, PART = range(3)
"""Workers that look for these first."""


def a_job(name, size=SMALL, rank=0):
    return Job(home=a_directory(b"d"), entry=a_file(b"%d" % name, size=size), rank=rank)


def a_backlog(**options):
    return Backlog(**({"pack_below": 64 * KIB, "pack_size": 100 * KIB, "packs": 2, "largest": 512 * KIB} | options))


def filled(count, size=SMALL, **options):
    backlog = a_backlog(**options)
    for number in range(count):
        backlog.put_now(a_job(number, size))
    return backlog


async def test_a_pack_is_bounded_in_bytes_as_they_are_in_tar():
    assert len(await filled(1000).take()) == 100 * KIB // (2 * BLOCK)
    assert len(await filled(10, size=30 * KIB).take()) == 3


async def test_a_pack_is_bounded_in_files():
    assert len(await filled(PACK_FILES + 1, size=0, pack_size=1 << 30).take()) == PACK_FILES


@pytest.mark.parametrize(
    ("sizes", "packs"),
    [([4, 4, 4], [8, 4]), ([9, 4], [9, 4]), ([2, 12], [10, 4]), ([12], [10, 2]), ([6, 4, 3], [10, 3])],
)
async def test_a_directory_is_not_cut_in_two_where_it_fits_into_the_next_pack(sizes, packs, monkeypatch):
    monkeypatch.setattr(lane, "PACK_FILES", 10)  # a constant
    backlog = a_backlog(packs=9)
    for folder, size in enumerate(sizes):
        home = a_directory(b"%d" % folder)
        for number in range(size):
            backlog.put_now(Job(home=home, entry=a_file(b"%d" % number, size=SMALL)))
    backlog.close()
    taken = [await backlog.take() for _ in packs]
    assert list(map(len, taken)) == packs
    whole = [(job.home.path, int(job.entry.name)) for files in taken for job in files]
    assert whole == sorted(whole)


async def test_a_file_that_is_larger_than_a_pack_is_one():
    assert len(await filled(3, size=60 * KIB, pack_size=32 * KIB).take()) == 1


async def test_p3_few_files_wait_for_more_but_not_for_ever(monkeypatch):
    monkeypatch.setattr(lane, "PACK_SECONDS", 0.0)
    assert len(await filled(3).take()) == 3
    monkeypatch.setattr(lane, "PACK_SECONDS", 0.01)
    assert len(await asyncio.wait_for(filled(3).take(), 5)) == 3
    assert PACK_SECONDS < 4  # a commit comes every four seconds


async def test_few_files_do_not_wait_once_the_walk_is_over():
    backlog = filled(3)
    taking = asyncio.create_task(backlog.take())
    await asyncio.sleep(0)
    assert not taking.done()
    backlog.close()
    assert len(await taking) == 3


async def test_no_more_packs_than_memory_allows_are_under_way():
    backlog = filled(1000, packs=1)
    jobs = await backlog.take()
    waiting = asyncio.create_task(backlog.take())
    await asyncio.sleep(0)
    assert not waiting.done()
    backlog.put_now(a_job(1, LARGE))  # there is something else to do meanwhile
    assert await waiting
    backlog.finish_pack(len(jobs))
    assert len(await backlog.take()) == len(jobs)


async def test_each_worker_takes_from_the_other_queues_when_its_own_is_empty():
    single, large = a_job(2, SINGLE), a_job(3, LARGE)
    firsts = []
    for first in (PACK, ALONE, PART):
        backlog = filled(100)
        backlog.put_now(single)
        backlog.put_now(large)
        units = [await backlog.take(first) for _ in range(3)]
        firsts.append(units[0])
        assert {type(unit) for unit in units} == {list, Job}
        assert {id(single), id(large)} <= set(map(id, units))
    assert isinstance(firsts[PACK], list)
    assert firsts[ALONE] is single
    assert firsts[PART] is large


async def test_a_file_that_is_for_no_pack_is_a_request_of_its_own():
    backlog = a_backlog()
    job = a_job(1)
    job.alone = True
    backlog.put_now(job)
    assert await backlog.take() is job


@pytest.mark.parametrize("size", [SMALL, SINGLE, LARGE])
async def test_the_walk_waits_while_a_queue_is_full(size):
    backlog = a_backlog(limit=2)
    for number in range(2):
        await backlog.put(a_job(number, size))
    for other in {SMALL, SINGLE, LARGE} - {size}:
        await backlog.put(a_job(9, other))
    waiting = asyncio.create_task(backlog.put(a_job(3, size)))
    await asyncio.sleep(0)
    assert not waiting.done()
    await backlog.take([SMALL, SINGLE, LARGE].index(size))
    await asyncio.wait_for(waiting, 1)


async def test_it_ends_when_closed_and_every_job_is_over():
    backlog = filled(2)
    backlog.close()
    first, second = await backlog.take()
    other = asyncio.create_task(backlog.take(PART))
    await asyncio.sleep(0)
    assert not other.done()
    first.alone = True
    backlog.put_now(first)
    backlog.finish_pack(len([first, second]))
    assert await other is first
    backlog.finish()
    assert await backlog.take() is None


@pytest.mark.parametrize("worker", [PACK, ALONE, PART])
async def test_an_empty_closed_one_ends_at_once(worker):
    backlog = a_backlog()
    backlog.close()
    assert await backlog.take(worker) is None


async def test_what_is_let_go_of_is_gone():
    backlog = filled(3)
    backlog.put_now(a_job(1, LARGE))
    backlog.clear()
    waiting = asyncio.create_task(backlog.take())
    await asyncio.sleep(0)
    assert not waiting.done()
    waiting.cancel()


async def test_of_the_large_files_the_smallest_come_first_so_that_most_become_whole():
    backlog = a_backlog()
    for number, size in enumerate((3 * LARGE, LARGE, 2 * LARGE, LARGE)):
        backlog.put_now(a_job(number, size))
    backlog.close()
    order = [await backlog.take(PART) for _ in range(4)]
    assert [job.entry.name for job in order] == [b"1", b"3", b"2", b"0"]


def begun(backlog, size, sent=0, rank=0):
    """A large file of which so many bytes are stored."""
    transfer = SimpleNamespace(job=a_job(0, size, rank), bytes_left=size - sent, claim=lambda: 7, bytes_done=sent)
    backlog.begin(transfer)
    return transfer


def test_a_file_that_cannot_become_whole_in_time_gives_way_to_what_can():
    async def scene():
        horizon = Horizon(asyncio.get_running_loop().time() + 20)
        backlog = a_backlog(horizon=horizon)
        huge = begun(backlog, 100 * LARGE)
        backlog.put_now(a_job(1, 5 * LARGE))
        before = await backlog.take(PART)
        horizon.sent(0)
        await asyncio.sleep(10)
        horizon.sent(10 * LARGE)  # 10 more go out in the 10 s that are left
        after = await backlog.take(PART)
        backlog.put_now(a_job(2, 11 * LARGE))
        return huge, before, after, await backlog.take(PART)

    huge, before, after, last = play(scene)
    assert before.transfer is huge
    assert after.entry.name == b"1"
    assert last.transfer is huge  # when nothing can become whole, what was begun goes on: the deadline may move


@pytest.mark.parametrize("worker", [PACK, ALONE, PART])
@pytest.mark.parametrize("size", [SMALL, SINGLE, LARGE])
def test_p3_a_large_file_that_can_no_longer_become_whole_gives_way_to_files_of_every_size(size, worker):
    async def scene():
        horizon = Horizon(asyncio.get_running_loop().time() + 20)
        backlog = a_backlog(horizon=horizon)
        huge = begun(backlog, 100 * LARGE, sent=50 * LARGE)
        horizon.sent(0)
        await asyncio.sleep(10)
        horizon.sent(10 * LARGE)
        backlog.put_now(a_job(1, size))
        backlog.close()
        return huge, await backlog.take(worker), await backlog.take(worker)

    huge, first, second = play(scene)
    assert (first[0] if isinstance(first, list) else first).entry.name == b"1"
    assert second.transfer is huge


@pytest.mark.parametrize("worker", [PACK, ALONE, PART])
async def test_a_file_of_a_lower_rank_overtakes_all_that_waits_and_what_is_under_way(worker):
    backlog = a_backlog()
    backlog.put_now(a_job(0, 2 * LARGE, rank=2))
    begun(backlog, 2 * LARGE, rank=2)
    for number, size in enumerate((SMALL, SINGLE, LARGE), start=1):
        backlog.put_now(a_job(number, size, rank=2))
    backlog.put_now(a_job(4, 3 * LARGE, rank=1))
    backlog.put_now(a_job(5, SINGLE, rank=0))
    backlog.close()
    assert (await backlog.take(worker)).entry.name == b"5"
    assert (await backlog.take(worker)).entry.name == b"4"


async def test_files_of_two_ranks_never_share_a_pack():
    backlog = a_backlog()
    for number in range(4):
        backlog.put_now(a_job(number, rank=number % 2))
    backlog.close()
    packs = [await backlog.take(), await backlog.take()]
    assert [{job.rank for job in jobs} for jobs in packs] == [{0}, {1}]


def test_a_file_of_a_lower_rank_that_cannot_become_whole_gives_way_too():
    async def scene():
        horizon = Horizon(asyncio.get_running_loop().time() + 20)
        backlog = a_backlog(horizon=horizon)
        backlog.put_now(a_job(1, 11 * LARGE, rank=0))
        backlog.put_now(a_job(2, LARGE, rank=1))
        horizon.sent(0)
        await asyncio.sleep(10)
        horizon.sent(10 * LARGE)
        return [(await backlog.take(PART)).entry.name for _ in range(2)]

    assert play(scene) == [b"2", b"1"]


async def test_files_of_all_ranks_count_for_what_may_wait():
    backlog = a_backlog(limit=2)
    await backlog.put(a_job(1, rank=0))
    await backlog.put(a_job(2, rank=1))
    waiting = asyncio.create_task(backlog.put(a_job(3, rank=0)))
    await asyncio.sleep(0)
    assert not waiting.done()
    waiting.cancel()


def test_without_a_deadline_nothing_gives_way():
    async def scene():
        horizon = Horizon(None)
        horizon.sent(1)
        await asyncio.sleep(5)
        horizon.sent(1)
        return horizon.is_beyond(1 << 60)

    assert play(scene) is False


def test_after_the_deadline_everything_is_out_of_reach():
    async def scene():
        horizon = Horizon(asyncio.get_running_loop().time() + 5)
        horizon.sent(1)
        await asyncio.sleep(6)
        horizon.sent(1000)
        return horizon.is_beyond(1)

    assert play(scene) is True
