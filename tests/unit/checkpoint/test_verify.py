import os

import pytest

from agent.checkpoint.keys import file_key, full
from agent.checkpoint.units import PART
from agent.checkpoint.verify import verify
from agent.checksum import crc64nvme
from agent.errors import IntegrityMismatch
from agent.store.base import StoreUnavailable
from tests.fakes.checkpoints import PASS, a_directory, a_file, a_ref
from tests.fakes.shelf import WRITER


async def an_object(shelf, name, data):
    """A file that is an object of its own."""
    key = file_key(writer=WRITER, pass_id=PASS, counter=next(shelf.numbers), name=name)
    await shelf.put(key, data)
    return a_file(name, size=len(data), ref=a_ref(len(data), key=key, crc64nvme=crc64nvme(data)))


@pytest.fixture
async def stored(shelf):
    packed = await shelf.files({b"a": b"alpha", b"b": b"beta", b"empty": b""})
    big = await an_object(shelf, b"big", os.urandom(PART + 5))
    one = await an_object(shelf, b"one", b"alone")
    return await shelf.commit([a_directory(b"", *packed), a_directory(b"d", big, one)])


@pytest.fixture
def check(shelf, stored, executor):
    async def run(*, deep):
        return await verify(shelf.store, shelf.prefix, stored, executor=executor, deep=deep)

    return run


def key_of(shelf, end):
    return next(key for key in shelf.store._objects if key.endswith(end)).removeprefix(full(shelf.prefix, ""))


@pytest.mark.parametrize("deep", [False, True])
async def test_a_checkpoint_that_is_whole_has_no_problems(check, deep):
    found = await check(deep=deep)
    assert (found.files, found.bytes, found.problem_count) == (4, PART + 5 + 5 + 9, 0)


@pytest.mark.parametrize("deep", [False, True])
@pytest.mark.parametrize("end", ["/big", "/one", ".tar"])
async def test_a_lost_object_is_found(shelf, check, deep, end):
    key = key_of(shelf, end)
    shelf.lose(key)
    found = await check(deep=deep)
    assert found.problem_count == (2 if deep and end == ".tar" else 1)
    assert {problem.key for problem in found.problems} == {key}
    assert all(problem.damaged for problem in found.problems)


@pytest.mark.parametrize("deep", [False, True])
@pytest.mark.parametrize("end", ["/big", "/one", ".tar"])
async def test_an_object_that_was_cut_is_found(shelf, check, deep, end):
    key = key_of(shelf, end)
    shelf.cut(key, max(0, len(shelf.store._objects[full(shelf.prefix, key)].data) - 515))
    found = await check(deep=deep)
    assert [problem.key for problem in found.problems] == [key]


@pytest.mark.parametrize(("end", "path"), [("/big", b"d/big"), ("/one", b"d/one"), (".tar", b"a")])
async def test_bytes_that_changed_are_found_when_all_are_fetched(shelf, check, end, path):
    key = key_of(shelf, end)
    shelf.damage(key, at=512 if end == ".tar" else 2)
    found = await check(deep=True)
    assert [(problem.key, problem.path) for problem in found.problems] == [(key, path)]
    assert "CRC-64/NVME" in found.problems[0].detail


async def test_another_object_at_the_key_is_found_by_the_checksum_that_the_store_keeps(shelf, check):
    await shelf.put(key_of(shelf, "/one"), b"other")
    found = await check(deep=False)
    assert [problem.path for problem in found.problems] == [b"d/one"]


async def test_a_damaged_segment_is_an_error(shelf, stored, check):
    shelf.damage(stored.head.segments[0].key, at=30)
    with pytest.raises(IntegrityMismatch):
        await check(deep=False)


@pytest.mark.parametrize("deep", [False, True])
async def test_a_store_that_does_not_answer_is_an_error(shelf, stored, executor, deep):
    class Silent:
        async def get(self, key, **place):
            if key.endswith(".jsonl.gz"):
                return await shelf.store.get(key, **place)
            raise StoreUnavailable("get", key, "no answer")

        async def head(self, key):
            raise StoreUnavailable("head", key, "no answer")

    with pytest.raises(StoreUnavailable):
        await verify(Silent(), shelf.prefix, stored, executor=executor, deep=deep)
