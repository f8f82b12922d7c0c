"""Trees that change under the copy, some of them to do harm."""

import asyncio
import os
import sys
import threading

import pytest

from agent.checkpoint import lane
from agent.store.memory import MemoryStore
from tests.fakes.flaky_store import FlakyStore
from tests.fakes.saved import PART, a_saver, directories, tree_of, tree_on_disk


@pytest.fixture(params=[0, PART], ids=["alone", "in packs"])
def one_by_one(request, monkeypatch):
    """Files are read one by one: there is a moment between two of them. The size below which they are packed."""
    monkeypatch.setattr(lane, "PACK_FILES", 1)  # a constant
    return request.param


class Meddling(FlakyStore):
    """Does something to the disk before a numbered call."""

    def __init__(self, store, act, at):
        super().__init__(store)
        self._act = act
        self._at = at

    async def _call(self, name, key, call):
        if len(self.calls) + 1 in self._at:
            self._act()
        return await super()._call(name, key, call)


def torn(found):
    return [entry.name for directory in found for entry in directory.entries if entry.torn]


def append(path):
    def act():
        with path.open("ab") as file:
            file.write(b"more")

    return act


async def saved(store, flaky, root, executor, **options):
    saver = a_saver(flaky, root, executor, **options)
    await asyncio.wait_for(saver.copy(), 30)
    commit = await saver.commit()
    return saver, commit, await directories(store, commit.head)


async def test_a_large_file_that_changes_once_is_read_again(root, store, executor):
    (root / "big").write_bytes(os.urandom(6 * PART))
    _, commit, found = await saved(store, Meddling(store, append(root / "big"), {4}), root, executor, connections=2)
    assert commit.head.complete
    assert not torn(found)
    assert await tree_of(store, commit.head) == tree_on_disk(root)
    assert not store._uploads


async def test_a_large_file_that_never_rests_is_stored_and_marked_torn(root, store, executor):
    (root / "big").write_bytes(os.urandom(6 * PART))
    (root / "calm").write_bytes(b"calm")
    saver, commit, found = await saved(
        store, Meddling(store, append(root / "big"), set(range(1000))), root, executor, connections=2
    )
    assert torn(found) == [b"big"]
    assert (commit.head.complete, commit.head.totals.torn, commit.head.left.files) == (False, 1, 0)
    assert saver.totals.files == 2


async def test_a_large_file_that_shrinks_is_stored_and_marked_torn(root, store, executor):
    (root / "big").write_bytes(os.urandom(20 * PART))

    def shrink():
        os.truncate(root / "big", max(2 * PART, (root / "big").stat().st_size - 1000))

    _, commit, found = await saved(store, Meddling(store, shrink, set(range(1000))), root, executor, connections=2)
    assert torn(found) == [b"big"]
    tree = await tree_of(store, commit.head)
    (entry,) = found[0].entries
    assert len(tree[os.fsencode(root / "big")][-2]) == entry.stat.size


async def test_a_file_that_grows_large_before_it_is_read_is_whole(root, store, executor, one_by_one):
    for number in range(30):
        (root / f"{number:02}").write_bytes(b"%d" % number)

    def grow():
        (root / "29").write_bytes(os.urandom(5 * PART))

    _, commit, _ = await saved(store, Meddling(store, grow, {1}), root, executor, connections=1, pack_below=one_by_one)
    assert commit.head.complete
    assert await tree_of(store, commit.head) == tree_on_disk(root)


async def test_files_that_vanish_are_no_loss(root, store, executor, one_by_one):
    (root / "d").mkdir()
    for number in range(30):
        (root / "d" / f"{number:02}").write_bytes(b"%d" % number)
    os.link(root / "d" / "29", root / "other name")

    def remove():
        for number in range(15, 30):
            (root / "d" / f"{number:02}").unlink()

    saver, commit, found = await saved(
        store, Meddling(store, remove, {1}), root, executor, connections=1, pack_below=one_by_one
    )
    assert commit.head.complete
    assert not saver.trouble
    names = {entry.name for directory in found for entry in directory.entries}
    assert b"28" not in names
    assert b"other name" in names


async def test_a_hard_link_whose_first_name_vanished_is_stored_under_the_next(root, store, executor, one_by_one):
    (root / "0").write_bytes(b"first")
    (root / "a").write_bytes(b"data")
    os.link(root / "a", root / "b")
    os.link(root / "a", root / "c")
    flaky = Meddling(store, (root / "a").unlink, {1})
    _, commit, _ = await saved(store, flaky, root, executor, connections=1, pack_below=one_by_one)
    tree = await tree_of(store, commit.head)
    assert tree[os.fsencode(root / "b")][-2] == tree[os.fsencode(root / "c")][-2] == b"data"
    assert os.fsencode(root / "a") not in tree


async def test_a_hard_link_whose_first_name_became_another_file_is_not_mixed_up(root, store, executor, one_by_one):
    (root / "0").write_bytes(b"first")
    (root / "a").write_bytes(b"data")
    os.link(root / "a", root / "b")

    def replace():
        (root / "a").unlink()
        (root / "a").write_bytes(b"another")

    _, commit, found = await saved(
        store, Meddling(store, replace, {1}), root, executor, connections=1, pack_below=one_by_one
    )
    tree = await tree_of(store, commit.head)
    assert tree[os.fsencode(root / "a")][-2] == b"another"
    assert tree[os.fsencode(root / "b")][-2] == b"data"
    assert len({entry.link for entry in found[0].entries if entry.name in {b"a", b"b"}}) == 2


def swapping_file(root, secret):
    """A user's file and a link to what only root may read, under one name, in turns."""
    name = root / "user" / "file"
    link = root / "user" / "link"
    kept = root / "user" / "kept"
    while True:
        link.symlink_to(secret / "file")
        name.rename(kept)
        link.rename(name)
        yield
        name.unlink()
        kept.rename(name)
        yield


def swapping_parent(root, secret):
    user, kept = root / "user", root / "kept"
    while True:
        user.rename(kept)
        user.symlink_to(secret)
        yield
        user.unlink()
        kept.rename(user)
        yield


def swapping_fifo(root, secret):
    name, kept = root / "user" / "file", root / "user" / "kept"
    while True:
        name.rename(kept)
        os.mkfifo(name)
        yield
        name.unlink()
        kept.rename(name)
        yield


@pytest.fixture
def many_switches():
    """Threads take turns every 10 us: in each run some of the swaps fall between two system calls of the agent."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)


@pytest.mark.parametrize("swapping", [swapping_file, swapping_parent, swapping_fifo])
async def test_p8_a_name_swapped_between_the_walk_and_the_read_is_not_followed(
    root, tmp_path, executor, swapping, one_by_one
):
    store = MemoryStore(smallest_part=1)
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "file").write_bytes(b"TOP SECRET")
    (root / "user").mkdir()
    (root / "first").write_bytes(b"harmless")
    (root / "user" / "file").write_bytes(b"harmless")
    turns = swapping(root, secret)
    flaky = Meddling(store, lambda: next(turns), {1})
    await saved(store, flaky, root, executor, connections=1, pack_below=one_by_one)
    async for found in store.list(""):
        assert b"SECRET" not in await store.get(found.key)


@pytest.mark.parametrize("swapping", [swapping_file, swapping_parent, swapping_fifo])
@pytest.mark.usefixtures("many_switches")
async def test_p8_what_only_root_may_read_never_reaches_the_store(root, tmp_path, executor, swapping):
    secret = tmp_path / "secret"
    secret.mkdir()
    for name in ("file", "large"):
        (secret / name).write_bytes(b"TOP SECRET" * (30_000 if name == "large" else 1))
    (root / "user").mkdir()
    (root / "user" / "file").write_bytes(b"harmless")
    (root / "user" / "large").write_bytes(b"harmless" * 30_000)
    for number in range(10):
        (root / "user" / f"{number}").write_bytes(b"harmless")
    stop = threading.Event()

    def swap():
        turns = swapping(root, secret)
        for number, _ in enumerate(turns):
            if stop.is_set() and number % 2:
                return

    swapper = threading.Thread(target=swap)
    swapper.start()
    try:
        for turn in range(150):
            store = MemoryStore(smallest_part=1)
            saver = a_saver(store, root, executor, pack_below=PART * (turn % 2))
            await asyncio.wait_for(saver.copy(), 20)
            await saver.commit()
            async for found in store.list(""):
                assert b"SECRET" not in await store.get(found.key)
    finally:
        stop.set()
        swapper.join()
