"""Trying again: until it works, until the caller has enough, or not at all."""

import asyncio
import contextlib

import pytest

from agent.chance import SeededChance
from agent.checksum import crc64nvme
from agent.errors import IntegrityMismatch
from agent.store.base import BodyRefused, ObjectExists, StoreDenied, StoreUnavailable, UploadMissing
from agent.store.memory import MemoryStore
from agent.store.retrying import Retrying, pause
from tests.fakes.flaky_store import Failure, FlakyStore

DOWN = StoreUnavailable("put", "a", "connection refused")
BODY = b"body"
CRC = crc64nvme(BODY)


class Desk:
    """A retrying store over a flaky one in memory, and what it said it waited for."""

    def __init__(self, failures=None):
        self.memory = MemoryStore(smallest_part=1)
        self.flaky = FlakyStore(self.memory, failures)
        self.said = []
        self.troubled = asyncio.Event()
        self.store = Retrying(self.flaky, SeededChance(1), self.hear, first=0.0)

    def hear(self, text):
        self.said.append(text)
        self.troubled.set()

    async def put(self, **how):
        await self.store.put("a", BODY, crc64nvme=CRC, **how)


def failing(*numbers, error=DOWN, after=False):
    return {number: Failure(error=error, after=after) for number in numbers}


async def test_a_call_that_fails_for_a_while_succeeds_in_the_end():
    desk = Desk(failing(1, 2, 3))
    await desk.put()
    assert await desk.memory.get("a") == BODY
    assert desk.flaky.calls == ["put a"] * 4
    assert desk.store.retries == 3


async def test_a_damaged_body_is_sent_again():
    desk = Desk(failing(1, error=BodyRefused("put", "a", "BadDigest")))
    await desk.put()
    assert await desk.memory.get("a") == BODY


async def test_trouble_is_told_at_the_first_failure_and_its_end_too():
    desk = Desk(failing(1, 2))
    await desk.put()
    assert desk.said == [str(DOWN), str(DOWN), ""]


async def test_a_call_that_works_at_once_says_nothing():
    desk = Desk()
    await desk.put()
    assert desk.said == []


async def test_of_several_calls_in_trouble_the_last_to_recover_gives_the_all_clear():
    desk = Desk(failing(1, 2))
    await asyncio.gather(desk.put(), desk.put())
    assert desk.said == [str(DOWN), str(DOWN), ""]


@pytest.mark.parametrize(
    "error", [StoreDenied("put", "a", "403"), ObjectExists("put", "a", "412"), IntegrityMismatch("put", "a", "short")]
)
async def test_what_is_permanent_passes_at_once(error):
    desk = Desk(failing(1, error=error))
    with pytest.raises(type(error)):
        await desk.put()
    assert desk.flaky.calls == ["put a"]
    assert desk.said == []


async def test_trouble_that_turns_permanent_is_over():
    desk = Desk({**failing(1), **failing(2, error=StoreDenied("put", "a", "403"))})
    with pytest.raises(StoreDenied):
        await desk.put()
    assert desk.said == [str(DOWN), ""]


async def test_the_caller_ends_it_by_cancelling():
    desk = Desk(failing(*range(1, 10_000)))
    task = asyncio.create_task(desk.put(), name="put")
    await desk.troubled.wait()
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    assert task.cancelled()
    assert desk.said[-1] == ""


async def test_a_conditional_put_whose_reply_was_lost_is_for_the_caller_to_read_back():
    desk = Desk(failing(1, after=True))
    with pytest.raises(ObjectExists):
        await desk.put(if_absent=True)
    assert await desk.memory.get("a") == BODY


async def uploaded(desk):
    upload = await desk.memory.begin("a")
    part = await desk.memory.put_part("a", upload, 1, BODY, crc64nvme=CRC)
    return upload, [part]


async def test_an_upload_completed_by_a_call_whose_reply_was_lost_is_complete():
    desk = Desk(failing(1, after=True))
    upload, parts = await uploaded(desk)
    await desk.store.complete("a", upload, parts, crc64nvme=CRC)
    assert await desk.memory.get("a") == BODY
    assert desk.flaky.calls == ["complete a", "complete a", "head a"]


async def test_an_upload_that_was_dropped_meanwhile_is_missing():
    desk = Desk(failing(1))
    upload, parts = await uploaded(desk)
    await desk.memory.abort("a", upload)
    with pytest.raises(UploadMissing):
        await desk.store.complete("a", upload, parts, crc64nvme=CRC)


async def test_another_object_at_the_key_is_not_our_upload():
    desk = Desk(failing(1))
    upload, parts = await uploaded(desk)
    await desk.memory.abort("a", upload)
    await desk.memory.put("a", b"else", crc64nvme=crc64nvme(b"else"))
    with pytest.raises(UploadMissing):
        await desk.store.complete("a", upload, parts, crc64nvme=CRC)


async def test_an_upload_missing_at_the_first_try_is_not_looked_into():
    desk = Desk()
    with pytest.raises(UploadMissing):
        await desk.store.complete("a", "made-up", [], crc64nvme=CRC)
    assert desk.flaky.calls == ["complete a"]


@pytest.mark.parametrize("after", [False, True])
async def test_a_listing_that_breaks_off_yields_every_object_once(after):
    desk = Desk(failing(1, 2, after=after))
    for key in ("p/a", "p/b", "p/c"):
        await desk.memory.put(key, BODY, crc64nvme=CRC)
    assert sorted([found.key async for found in desk.store.list("p/")]) == ["p/a", "p/b", "p/c"]
    assert desk.flaky.calls == ["list p/"] * 3


async def test_every_other_call_is_tried_again_too():
    desk = Desk(failing(*range(1, 14, 2)))
    upload = await desk.store.begin("a")
    part = await desk.store.put_part("a", upload, 1, BODY, crc64nvme=CRC)
    assert await desk.store.parts("a", upload) == [part]
    await desk.store.complete("a", upload, [part], crc64nvme=CRC)
    assert await desk.store.get("a", offset=1, length=2) == BODY[1:3]
    assert (await desk.store.head("a")).size == len(BODY)
    await desk.store.abort("a", upload)
    assert desk.store.retries == 7


@pytest.mark.parametrize(("failures", "longest"), [(1, 0.2), (2, 0.4), (3, 0.8), (5, 3.2), (6, 5.0), (10_000, 5.0)])
def test_a_pause_doubles_up_to_a_bound(failures, longest):
    assert pause(failures, 1.0, first=0.2, longest=5.0) == pytest.approx(longest)


def test_a_pause_is_jittered_over_its_whole_length():
    assert pause(3, 0.0, first=0.2, longest=5.0) == 0.0
    assert pause(3, 0.5, first=0.2, longest=5.0) == pytest.approx(0.4)


class Broken(MemoryStore):
    """A fetch breaks off after so many bytes, as often as told."""

    def __init__(self, *breaks):
        super().__init__()
        self.breaks = list(breaks)
        self.asked = []

    async def fetch(self, key, take, *, offset, length):
        self.asked.append((offset, length))
        most = min(self.breaks.pop(0), length) if self.breaks else length
        await super().fetch(key, take, offset=offset, length=most)
        if most < length or self.breaks:
            raise DOWN


@pytest.mark.parametrize("breaks", [(4, 0, 3, 100), (10,), (10, 0), (0,)])
async def test_a_fetch_that_breaks_off_goes_on_where_it_stopped(breaks):
    data, taken = bytes(range(10)), []
    store = Broken(*breaks)
    await store.put("a", data, crc64nvme=crc64nvme(data))
    retrying = Retrying(store, SeededChance(1), lambda _: None, first=0.0)
    await retrying.fetch("a", lambda piece: taken.append(bytes(piece)), offset=2, length=8)
    assert b"".join(taken) == data[2:]
    assert [offset + length for offset, length in store.asked] == [10] * len(store.asked)


async def test_a_copy_whose_reply_was_lost_is_made_again():
    desk = Desk(failing(2, after=True))
    await desk.put()
    await desk.store.copy("a", "b", size=len(BODY), crc64nvme=CRC)
    assert desk.flaky.calls == ["put a", "copy b", "copy b"]
    assert await desk.memory.get("b") == BODY
