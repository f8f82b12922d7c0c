"""Files that the operator's patterns name are saved before all others, wherever in the tree they are."""

import asyncio
import os
import shutil
from concurrent.futures import ThreadPoolExecutor

import pytest

from agent.checkpoint.backlog import Backlog
from agent.checkpoint.choice import Choice
from agent.checkpoint.horizon import Horizon
from agent.checkpoint.keys import is_data_key
from agent.scratch.looks import Looking
from agent.store.limited import Limited
from agent.store.memory import MemoryStore
from tests.fakes.saved import PART, a_saver, newest_head, tree_of, tree_on_disk
from tests.fakes.saved_again import Node

MB = 1_000_000


@pytest.fixture
def executor():
    with ThreadPoolExecutor(8) as pool:
        yield pool


def plant(root, *paths, size=1000):
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(os.urandom(size))


def many(folder, count):
    return [f"{folder}/{number:03}" for number in range(count)]


def files(found, root):
    """The files among what a head holds, relative to the root."""
    return {os.fsdecode(path).removeprefix(f"{root}/") for path, what in found.items() if what[0] == "f"}


async def saved_within(seconds, rate, root, executor, **options):
    """Save at so many bytes a second for so long; return what the head holds then."""
    store = MemoryStore(smallest_part=1)
    saver = a_saver(Limited(store, bytes_per_second=rate), root, executor, **options)
    copying = asyncio.create_task(saver.copy())
    await asyncio.wait([copying], timeout=seconds)
    copying.cancel()
    await asyncio.wait([copying])
    commit = await saver.commit()
    return commit.head, await tree_of(store, commit.head)


async def test_p3_a_file_deep_in_the_tree_is_saved_first_when_the_walk_would_not_get_there(root, executor, monkeypatch):
    monkeypatch.setitem(Backlog.__init__.__kwdefaults__, "limit", 4)
    monkeypatch.setattr("agent.checkpoint.survey.SLICE", 8)
    plant(root, *many("a/b", 200), size=PART)
    plant(root, *many("z/deep/down/results", 8), size=PART)
    head, found = await saved_within(1.5, 20 * PART, root, executor, priority=["*/results/*"])
    assert set(many("z/deep/down/results", 8)) < files(found, root)
    assert (head.complete, head.left.files) == (False, 208 - len(files(found, root)))


async def test_files_of_the_first_pattern_go_before_those_of_the_second_and_small_ones_before_large(root, executor):
    order = []

    class Noting(MemoryStore):
        async def put(self, key, body, **options):
            order.append(key.rpartition("/")[2])
            return await super().put(key, body, **options)

        async def begin(self, key):
            order.append(key.rpartition("/")[2])
            return await super().begin(key)

    plant(root, "a", "c.second", "d.first", size=PART)
    plant(root, "b.first", size=3 * PART)
    saver = a_saver(Noting(smallest_part=1), root, executor, connections=1, priority=["*.first", "*.second"])
    await saver.copy()
    assert order == ["d.first", "b.first", "c.second", "a"]


@pytest.mark.parametrize("priority", [["*"], ["b*", "a/02"], ["nothing"], ["a"]])
async def test_p2_what_is_saved_is_the_tree_whatever_goes_first(tmp_path, executor, priority):
    node = Node(tmp_path, executor)
    plant(node.root, *many("a", 5), *many("b/c", 5))
    (node.root / "a" / "link").symlink_to("00")
    (node.root / "b" / "empty").mkdir()
    os.link(node.root / "a" / "000", node.root / "b" / "other")
    first = await node.save(priority=priority)
    assert first.complete
    assert await tree_of(node.store, first) == tree_on_disk(node.root)

    plant(node.root, "a/001", "b/new/file")
    (node.root / "b" / "c" / "003").unlink()
    (node.root / "a" / "004").unlink()
    second = await node.save(priority=priority)
    assert second.complete
    assert await tree_of(node.store, second) == tree_on_disk(node.root)
    assert (second.totals.files, second.totals.directories) == (10, 6)


def a_file(path):
    path.write_bytes(os.urandom(1000))


def a_link(path):
    path.symlink_to("other")


def a_folder(path):
    path.mkdir()
    (path / "deep").mkdir()
    a_file(path / "deep" / "file")


@pytest.mark.parametrize(("before", "after"), [(a_file, a_folder), (a_link, a_folder), (a_folder, a_file)])
async def test_p2_what_went_first_stays_where_something_else_was_before(tmp_path, executor, before, after):
    node = Node(tmp_path, executor)
    plant(node.root, *many("a", 5))
    latest = node.root / "a" / "latest"
    before(latest)
    await node.save()
    if latest.is_symlink() or latest.is_file():
        latest.unlink()
    else:
        shutil.rmtree(latest)
    after(latest)
    saver = node.saver(priority=["a/latest"])
    look = saver._walk_part

    async def look_and_commit(base, part):
        await look(base, part)
        async with asyncio.timeout(10):
            while part.is_first and saver.left.files:  # noqa: ASYNC110 - nothing tells of it
                await asyncio.sleep(0.01)
        await saver.commit(on_the_way=True)

    saver._walk_part = look_and_commit
    await saver.copy()
    head = (await saver.commit()).head
    assert head.complete
    assert await tree_of(node.store, head) == tree_on_disk(node.root)
    folders = [path for path in node.root.rglob("*") if path.is_dir()]
    assert (head.totals.files, head.totals.directories) == (6, 1 + len(folders))


async def test_a_file_that_went_first_and_became_a_link_before_the_second_look_is_one_name(tmp_path, executor):
    node = Node(tmp_path, executor)
    plant(node.root, *many("a", 5))
    saver = node.saver(priority=["a/004"])
    look = saver._walk_part

    async def look_and_swap(base, part):
        await look(base, part)
        if part.is_first:
            async with asyncio.timeout(10):
                while saver.left.files:  # noqa: ASYNC110 - nothing tells of it
                    await asyncio.sleep(0.01)
            (node.root / "a" / "004").unlink()
            (node.root / "a" / "004").symlink_to("000")

    saver._walk_part = look_and_swap
    await saver.copy()
    name, now = bytes(node.root / "a" / "004"), tree_on_disk(node.root)
    assert (await tree_of(node.store, (await saver.commit()).head))[name] == now[name]


async def test_nothing_is_sent_again_because_it_goes_first(tmp_path, executor):
    node = Node(tmp_path, executor)
    plant(node.root, *many("a", 5), *many("b", 5))
    await node.save(priority=["a/*"])
    objects = await node.objects()
    await node.save(priority=["a/*"])
    assert await node.objects() == objects


async def test_what_a_copy_ahead_may_send_goes_to_the_files_that_go_first(root, store, executor):
    plant(root, *many("a", 5), *many("z", 2))
    saver = a_saver(store, root, executor, priority=["z/*"], choice=Choice(most_bytes=2000))
    await saver.copy()
    await saver.commit()
    assert files(await tree_of(store, await newest_head(store)), root) == set(many("z", 2))


async def test_a_problem_is_told_once_whether_its_file_goes_first_or_not(root, store, executor, monkeypatch):
    plant(root, "a/bad", "b/bad", "b/good")
    real = Looking.look

    def refusing(self, folder, names):
        if b"bad" in names:
            raise PermissionError(13, "Permission denied")
        return real(self, folder, names)

    monkeypatch.setattr(Looking, "look", refusing)
    saver = a_saver(store, root, executor, priority=["a/*"])
    await saver.copy()
    assert sorted(saver.left.paths) == [f"{root}/a/bad", f"{root}/b/bad"]


async def test_a_head_of_what_went_first_alone_holds_it_with_its_directory(root, executor):
    plant(root, *many("a", 50), "z/deep/down/file", size=PART)
    (root / "z" / "deep" / "down").chmod(0o750)
    _, found = await saved_within(1.0, 20 * PART, root, executor, priority=["z/*"], connections=1)
    assert found[os.fsencode(root / "z" / "deep" / "down" / "file")][0] == "f"
    assert found[os.fsencode(root / "z" / "deep" / "down")][1] == 0o750


async def test_p3_a_large_file_under_way_that_cannot_finish_gives_way_to_what_can(root, executor):
    """Of its 244 parts more than a hundred would be sent by then if it kept its share of the connections."""
    sent = []

    class Noting(MemoryStore):
        async def put(self, key, body, **options):
            if is_data_key(key.partition("/")[2]):  # no commit, which may come late on a busy machine
                sent.append("small")
            return await super().put(key, body, **options)

        async def put_part(self, *args, **options):
            sent.append("part")
            return await super().put_part(*args, **options)

    plant(root, "a-huge", size=64 * MB)
    plant(root, *many("z", 280), size=100_000)
    horizon = Horizon(asyncio.get_running_loop().time() + 1.0)
    store = Limited(Noting(smallest_part=1), bytes_per_second=40 * MB)
    saver = a_saver(store, root, executor, horizon=horizon, part_size=4 * PART, connections=6)
    await saver.copy()
    before, _, _ = "".join(word[0] for word in sent).rpartition("s")
    assert before.count("p") < 50


@pytest.mark.parametrize(
    ("first", "then", "order"),
    [(60.0, 4.0, ["b", "a"]), (4.0, 60.0, ["a", "b"]), (60.0, 60.0, ["a", "b"]), (4.0, 4.0, ["b", "a"])],
)
async def test_p3_a_deadline_that_moves_during_a_copy_changes_what_gives_way(root, executor, first, then, order):
    """`a` goes first where it can become whole; it takes five seconds, `b` takes two and a half."""
    completed = []

    class Noting(MemoryStore):
        async def complete(self, key, upload, parts, **options):
            completed.append(key[-1])
            await super().complete(key, upload, parts, **options)

    plant(root, "a", size=100 * PART)
    plant(root, "b", size=50 * PART)
    began = asyncio.get_running_loop().time()
    horizon = Horizon(began + first)
    store = Limited(Noting(smallest_part=1), bytes_per_second=20 * PART)
    saver = a_saver(store, root, executor, horizon=horizon, priority=["a"], connections=2)
    copying = asyncio.create_task(saver.copy())
    await asyncio.sleep(0.7)
    horizon.move(began + then)
    await copying
    assert completed == order
