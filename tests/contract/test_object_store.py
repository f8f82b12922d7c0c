"""What every object store promises (agent/store/base.py), on the fake and on a real S3 server."""

import asyncio
import contextlib
import errno
import os
from datetime import UTC, datetime, timedelta

import pytest

from agent.checksum import combine, crc64nvme
from agent.errors import IntegrityMismatch
from agent.store.base import (
    BodyRefused,
    ObjectExists,
    ObjectMissing,
    Part,
    StoreDenied,
    UploadId,
    UploadMissing,
)

MIB = 1024 * 1024
TEXT = b"the quick brown fox"


async def put(store, key, data=TEXT, **how):
    await store.put(key, data, crc64nvme=crc64nvme(data), **how)


async def put_part(store, key, upload, number, data):
    return await store.put_part(key, upload, number, data, crc64nvme=crc64nvme(data))


async def keys(store, prefix):
    return sorted([found.key async for found in store.list(prefix)])


async def test_what_was_put_is_got(store):
    await put(store, "a/b")
    assert await store.get("a/b") == TEXT


async def test_an_empty_object_is_an_object(store):
    await put(store, "empty", b"")
    assert await store.get("empty") == b""
    assert (await store.head("empty")).size == 0


async def test_a_large_body_arrives_whole(store):
    data = os.urandom(3 * MIB + 17)
    await put(store, "large", data)
    assert await store.get("large") == data


async def test_a_memoryview_is_stored_like_its_bytes(store):
    await put(store, "view", memoryview(bytearray(b"..") + TEXT)[2:])
    assert await store.get("view") == TEXT


class Flowing:
    """A body that is read while it is sent; `fails` once so many bytes of it are read."""

    def __init__(self, data, fails=None):
        self.data = data
        self.fails = fails
        self.size = len(data)

    def read(self, offset, into):
        if self.fails is not None and offset + len(into) > self.fails:
            raise OSError(errno.EIO, "bad sector")
        into[:] = self.data[offset : offset + len(into)]


@pytest.mark.parametrize("size", [0, 1, 256 * 1024, 3 * MIB + 17])
async def test_a_body_that_is_read_while_it_is_sent_is_stored_with_its_checksum(store, size):
    data = os.urandom(size)
    assert await store.put("flow", Flowing(data)) == crc64nvme(data)
    assert await store.get("flow") == data
    stored = await store.head("flow")
    assert (stored.size, stored.crc64nvme) == (size, crc64nvme(data))


async def test_parts_may_be_read_while_they_are_sent(store):
    first, second = os.urandom(5 * MIB), os.urandom(MIB + 1)
    upload = await store.begin("big")
    parts = [await store.put_part("big", upload, n, Flowing(data)) for n, data in ((1, first), (2, second))]
    assert [(part.size, part.crc64nvme) for part in parts] == [(len(data), crc64nvme(data)) for data in (first, second)]
    await store.complete("big", upload, parts, crc64nvme=crc64nvme(first + second))
    assert await store.get("big") == first + second


async def test_what_goes_wrong_in_reading_a_body_is_raised_as_it_is_and_nothing_is_stored(store):
    with pytest.raises(OSError, match="bad sector") as caught:
        await store.put("flow", Flowing(os.urandom(2 * MIB), fails=MIB))
    assert caught.value.errno == errno.EIO
    with pytest.raises(ObjectMissing):
        await store.head("flow")


async def test_a_later_put_replaces_the_object(store):
    await put(store, "a")
    await put(store, "a", b"new")
    assert await store.get("a") == b"new"


async def test_a_body_that_differs_from_its_checksum_is_refused_and_not_stored(store):
    with pytest.raises(BodyRefused):
        await store.put("bad", TEXT, crc64nvme=crc64nvme(TEXT) ^ 1)
    with pytest.raises(ObjectMissing):
        await store.head("bad")


async def test_p2_a_conditional_put_never_replaces_an_object(store):
    await put(store, "head", if_absent=True)
    with pytest.raises(ObjectExists):
        await put(store, "head", b"other", if_absent=True)
    assert await store.get("head") == TEXT


async def test_p2_of_many_conditional_puts_at_once_one_wins(store):
    bodies = [f"writer {n}".encode() for n in range(8)]
    ends = await asyncio.gather(*(put(store, "race", body, if_absent=True) for body in bodies), return_exceptions=True)
    winners = [body for body, end in zip(bodies, ends, strict=True) if end is None]
    assert len(winners) == 1
    assert all(end is None or isinstance(end, ObjectExists) for end in ends)
    assert await store.get("race") == winners[0]


@pytest.mark.parametrize(("offset", "length"), [(0, 3), (4, 5), (len(TEXT) - 1, 1), (0, len(TEXT)), (7, 0)])
async def test_a_range_is_got_exactly(store, offset, length):
    await put(store, "a")
    assert await store.get("a", offset=offset, length=length) == TEXT[offset : offset + length]


async def test_without_a_length_all_there_is_from_the_offset_is_got(store):
    await put(store, "a")
    assert await store.get("a", offset=4) == TEXT[4:]


@pytest.mark.parametrize("offset", [10, len(TEXT), 1000])
async def test_a_range_past_the_end_is_a_mismatch_and_not_tried_again(store, offset):
    await put(store, "a")
    with pytest.raises(IntegrityMismatch):
        await store.get("a", offset=offset, length=len(TEXT))


async def fetched(store, key, offset, length):
    pieces = []
    await store.fetch(key, lambda piece: pieces.append(bytes(piece)), offset=offset, length=length)
    return pieces


@pytest.mark.parametrize(("offset", "length"), [(0, 3), (4, 5), (0, len(TEXT)), (7, 0)])
async def test_a_range_is_fetched_exactly(store, offset, length):
    await put(store, "a")
    assert b"".join(await fetched(store, "a", offset, length)) == TEXT[offset : offset + length]


async def test_a_large_range_is_fetched_in_order_and_never_held_as_one(store):
    data = os.urandom(5 * MIB + 17)
    await put(store, "large", data)
    pieces = await fetched(store, "large", 11, 5 * MIB)
    assert b"".join(pieces) == data[11 : 11 + 5 * MIB]
    assert max(map(len, pieces)) <= MIB


async def test_a_fetch_past_the_end_is_a_mismatch_and_one_of_nothing_is_missing(store):
    await put(store, "a")
    with pytest.raises(IntegrityMismatch):
        await fetched(store, "a", 10, len(TEXT))
    with pytest.raises(ObjectMissing):
        await fetched(store, "nothing", 0, 1)


async def test_what_goes_wrong_in_taking_a_piece_is_raised_as_it_is(store):
    await put(store, "large", os.urandom(3 * MIB))

    def full(piece):
        raise OSError(errno.ENOSPC, "no room")

    with pytest.raises(OSError, match="no room") as caught:
        await store.fetch("large", full, offset=0, length=3 * MIB)
    assert caught.value.errno == errno.ENOSPC
    assert len(await store.get("large")) == 3 * MIB


async def test_a_cancelled_fetch_takes_nothing_more_once_it_is_over(store):
    data = os.urandom(8 * MIB)
    await put(store, "large", data)
    loop, begun, taken = asyncio.get_running_loop(), asyncio.Event(), []

    def take(piece):
        taken.append(len(piece))
        loop.call_soon_threadsafe(begun.set)

    task = asyncio.create_task(store.fetch("large", take, offset=0, length=len(data)), name="fetch")
    await begun.wait()
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    before = list(taken)
    await asyncio.sleep(0.05)
    assert taken == before
    assert len(await store.get("large", length=1)) == 1


async def test_what_is_not_there_is_missing(store):
    with pytest.raises(ObjectMissing):
        await store.get("nothing")
    with pytest.raises(ObjectMissing):
        await store.head("nothing")


async def test_head_tells_size_time_and_checksum(store):
    await put(store, "a")
    stored = await store.head("a")
    assert (stored.key, stored.size, stored.crc64nvme) == ("a", len(TEXT), crc64nvme(TEXT))
    assert abs(stored.modified - datetime.now(UTC)) < timedelta(minutes=1)


@pytest.mark.parametrize(
    "key",
    [
        "a b",
        "100%41",
        "a+b",
        "ü/☃",
        "q?x=1&y#z",
        "semi;colon,comma",
        "AROAEXAMPLE:i-0123",
        "ctrl\x01\x7f",
        "(){}'\"*!$@~",
    ],
)
async def test_a_key_may_hold_any_character(store, key):
    await put(store, f"odd/{key}")
    assert await store.get(f"odd/{key}") == TEXT
    assert (await store.head(f"odd/{key}")).size == len(TEXT)
    assert await keys(store, "odd/") == [f"odd/{key}"]


async def test_a_listing_holds_what_begins_with_the_prefix_and_nothing_else(store):
    for key in ("p/a", "p/b/c", "p", "pq", "q/a"):
        await put(store, key)
    assert await keys(store, "p/") == ["p/a", "p/b/c"]
    assert await keys(store, "q/") == ["q/a"]
    assert await keys(store, "none/") == []


async def test_a_listing_tells_sizes(store):
    await put(store, "p/a")
    assert [found.size async for found in store.list("p/")] == [len(TEXT)]


async def test_a_listing_has_more_than_a_page(store):
    names = [f"many/{n:05}" for n in range(1_100)]
    ahead = asyncio.Semaphore(8)

    async def one(name):
        async with ahead:
            await put(store, name, b"")

    await asyncio.gather(*(one(name) for name in names))
    assert await keys(store, "many/") == names


@pytest.mark.parametrize("key", ["p/f1/a", "odd/a b", "odd/100%41+ü", "odd/q?x=1&y#z"])
async def test_a_copy_is_another_object_with_the_same_bytes(store, key):
    await put(store, key)
    await store.copy(key, "new/place", size=len(TEXT), crc64nvme=crc64nvme(TEXT))
    await put(store, key, b"replaced")
    assert await store.get("new/place") == TEXT
    stored = await store.head("new/place")
    assert (stored.size, stored.crc64nvme) == (len(TEXT), crc64nvme(TEXT))


async def test_an_object_of_several_parts_is_copied_with_the_checksum_of_the_whole(store):
    first, second = os.urandom(5 * MIB), b"the end"
    upload = await store.begin("big")
    parts = [await put_part(store, "big", upload, n, data) for n, data in ((1, first), (2, second))]
    await store.complete("big", upload, parts, crc64nvme=crc64nvme(first + second))
    await store.copy("big", "copy", size=5 * MIB + len(second), crc64nvme=crc64nvme(first + second))
    assert await store.get("copy") == first + second


async def test_there_is_no_copy_of_what_is_missing(store):
    with pytest.raises(ObjectMissing):
        await store.copy("nothing", "copy", size=1, crc64nvme=0)
    with pytest.raises(ObjectMissing):
        await store.head("copy")


async def test_a_copy_of_something_else_than_was_said_is_a_mismatch_and_not_tried_again(store):
    await put(store, "a")
    with pytest.raises(IntegrityMismatch):
        await store.copy("a", "copy", size=len(TEXT), crc64nvme=crc64nvme(TEXT) ^ 1)


async def test_parts_become_one_object_with_the_checksum_of_the_whole(store):
    first, second = os.urandom(5 * MIB), b"the end"
    upload = await store.begin("big")
    parts = [
        await put_part(store, "big", upload, 1, memoryview(first)),
        await put_part(store, "big", upload, 2, second),
    ]
    whole = combine(parts[0].crc64nvme, parts[1].crc64nvme, len(second))
    await store.complete("big", upload, parts, crc64nvme=whole)
    assert await store.get("big", offset=5 * MIB - 3) == first[-3:] + second
    stored = await store.head("big")
    assert (stored.size, stored.crc64nvme) == (5 * MIB + len(second), whole)


async def test_p2_there_is_no_object_before_its_upload_is_complete(store):
    upload = await store.begin("big")
    await put_part(store, "big", upload, 1, TEXT)
    with pytest.raises(ObjectMissing):
        await store.head("big")
    assert await keys(store, "big") == []


async def test_p7_an_upload_is_resumed_from_the_parts_that_the_store_has(store):
    first, second, third = os.urandom(5 * MIB), os.urandom(5 * MIB), b"end"
    upload = await store.begin("big")
    await put_part(store, "big", upload, 2, second)
    await put_part(store, "big", upload, 1, first)
    found = await store.parts("big", upload)
    assert [(part.number, part.size) for part in found] == [(1, 5 * MIB), (2, 5 * MIB)]
    assert all(part.crc64nvme in {0, crc64nvme(data)} for part, data in zip(found, (first, second), strict=True))
    last = await put_part(store, "big", upload, 3, third)
    await store.complete("big", upload, [*found, last], crc64nvme=crc64nvme(first + second + third))
    assert (await store.head("big")).size == 10 * MIB + len(third)


async def test_an_upload_has_more_parts_than_a_page_of_them(store):
    upload = await store.begin("big")
    ahead = asyncio.Semaphore(8)

    async def one(number):
        async with ahead:
            await put_part(store, "big", upload, number, b"x")

    await asyncio.gather(*(one(number) for number in range(1, 1_011)))
    assert [part.number for part in await store.parts("big", upload)] == list(range(1, 1_011))


async def test_a_part_sent_again_replaces_the_first(store):
    upload = await store.begin("big")
    await put_part(store, "big", upload, 1, b"first try")
    part = await put_part(store, "big", upload, 1, b"second try")
    # SeaweedFS lists both, with times to the second: which is the newer can't be told.
    assert [each.number for each in await store.parts("big", upload)] == [1]
    await store.complete("big", upload, [part], crc64nvme=crc64nvme(b"second try"))
    assert await store.get("big") == b"second try"


async def test_a_part_that_differs_from_its_checksum_is_refused(store):
    upload = await store.begin("big")
    with pytest.raises(BodyRefused):
        await store.put_part("big", upload, 1, TEXT, crc64nvme=crc64nvme(TEXT) ^ 1)
    assert list(await store.parts("big", upload)) == []


async def test_an_object_that_differs_from_its_checksum_is_not_completed(store):
    upload = await store.begin("big")
    part = await put_part(store, "big", upload, 1, TEXT)
    with pytest.raises(IntegrityMismatch):
        await store.complete("big", upload, [part], crc64nvme=crc64nvme(TEXT) ^ 1)
    with pytest.raises(ObjectMissing):
        await store.head("big")


async def test_a_small_part_that_is_not_the_last_is_refused(store):
    upload = await store.begin("big")
    parts = [await put_part(store, "big", upload, number, TEXT) for number in (1, 2)]
    with pytest.raises(StoreDenied):
        await store.complete("big", upload, parts, crc64nvme=crc64nvme(TEXT + TEXT))


async def test_a_part_that_the_store_does_not_have_is_not_completed(store):
    upload = await store.begin("big")
    await put_part(store, "big", upload, 1, TEXT)
    made_up = Part(number=1, etag='"00000000000000000000000000000000"', size=len(TEXT), crc64nvme=crc64nvme(TEXT))
    with pytest.raises(UploadMissing):
        await store.complete("big", upload, [made_up], crc64nvme=crc64nvme(TEXT))


async def test_an_aborted_upload_is_gone_and_aborting_it_again_is_no_error(store):
    upload = await store.begin("big")
    part = await put_part(store, "big", upload, 1, TEXT)
    await store.abort("big", upload)
    await store.abort("big", upload)
    with pytest.raises(UploadMissing):
        await store.parts("big", upload)
    with pytest.raises(UploadMissing):
        await put_part(store, "big", upload, 2, TEXT)
    with pytest.raises(UploadMissing):
        await store.complete("big", upload, [part], crc64nvme=crc64nvme(TEXT))


async def test_an_upload_that_never_was_is_missing(store):
    with pytest.raises(UploadMissing):
        await store.parts("big", UploadId("made-up"))


async def test_a_cancelled_put_leaves_the_store_usable(store):
    task = asyncio.create_task(put(store, "a", os.urandom(MIB)), name="put")
    await asyncio.sleep(0)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    await put(store, "b")
    assert await store.get("b") == TEXT
