import asyncio
import os
import socket
from pathlib import Path

import pytest

from agent.checkpoint import survey
from agent.checkpoint.choice import Choice
from agent.errors import PermanentError
from agent.scratch.tree import RootMissing
from agent.store.base import StoreDenied
from agent.store.memory import MemoryStore
from tests.fakes.flaky_store import Failure, FlakyStore
from tests.fakes.saved import PART, PREFIX, a_saver, directories, newest_head, stored, tree_of, tree_on_disk


def plant(root, files=20, large=3):
    """A tree with every kind of thing a person has in a scratch directory."""
    (root / "empty dir").mkdir()
    (root / "a" / "x").mkdir(parents=True)
    (root / "a-b").mkdir()
    for number in range(files):
        (root / "a" / f"{number}").write_bytes(os.urandom(100 + number))
    for number in range(large):
        (root / "a" / "x" / f"big{number}").write_bytes(os.urandom(3 * PART + 17 * number))
    (root / os.fsdecode(b"odd\xff\n name")).write_bytes(b"odd")
    (root / "empty").touch()
    (root / "link").symlink_to("nowhere")
    os.link(root / "a" / "0", root / "hard")
    (root / "a" / "1").chmod(0o4711)
    os.chown(root / "a" / "2", 1001, 1002)
    os.setxattr(root / "a" / "3", "user.colour", b"\0blue")
    os.setxattr(root / "a", "user.kind", b"directory")


async def test_p2_everything_is_in_the_checkpoint_as_it_is_on_the_disk(root, store, executor):
    plant(root)
    saver = a_saver(store, root, executor)
    await saver.copy()
    commit = await saver.commit()
    assert await tree_of(store, commit.head) == tree_on_disk(root)
    assert commit.head.complete
    assert commit.head == await newest_head(store)
    assert saver.totals == commit.head.totals
    assert (commit.head.totals.files, commit.head.totals.directories, commit.head.totals.symlinks) == (27 - 1, 5, 1)
    assert not saver.trouble
    assert not saver.left.files


async def test_p2_special_files_are_recorded_and_never_opened(root, store, executor):
    os.mkfifo(root / "pipe")
    os.link(root / "pipe", root / "pipe too")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(root / "socket"))
    saver = a_saver(store, root, executor)
    await asyncio.wait_for(saver.copy(), 10)
    commit = await saver.commit()
    assert await tree_of(store, commit.head) == tree_on_disk(root)
    assert (commit.head.totals.skipped, commit.head.complete) == (3, True)


async def test_p3_a_head_says_that_the_walk_did_not_finish_and_how_far_it_came(root, store, executor, monkeypatch):
    monkeypatch.setattr(survey, "SLICE", 5)  # a constant
    for number in range(10):
        (root / f"{number}").mkdir()
        for name in range(5):
            (root / f"{number}" / f"{name}").write_bytes(b"x")

    class Cutting(Choice):
        def takes(self, entry):
            copying.cancel()
            return True

    saver = a_saver(store, root, executor, choice=Cutting())
    copying = asyncio.create_task(saver.copy())
    await asyncio.wait([copying])
    head = (await saver.commit()).head
    assert (head.complete, head.left.seen) == (False, 5)
    assert await newest_head(store) == head
    again = a_saver(store, root, executor)
    await again.copy()
    head = (await again.commit()).head
    assert (head.complete, head.left.seen) == (True, None)


async def test_p2_holes_are_neither_sent_nor_lost(root, store, executor):
    with (root / "small").open("wb") as file:
        file.truncate(50 * PART)
        os.pwrite(file.fileno(), b"x" * 4096, 20 * PART)
    with (root / "large").open("wb") as file:
        file.truncate(400 * PART)
        for place in range(0, 400, 40):
            os.pwrite(file.fileno(), os.urandom(PART // 2), place * PART)
    with (root / "nothing").open("wb") as file:
        file.truncate(PART)
    saver = a_saver(store, root, executor)
    await saver.copy()
    commit = await saver.commit()
    assert await tree_of(store, commit.head) == tree_on_disk(root)
    assert commit.head.totals.bytes == 4096 + 10 * PART // 2


async def test_p2_hard_links_are_stored_once(root, store, executor):
    (root / "0").write_bytes(b"data")
    (root / "big0").write_bytes(os.urandom(3 * PART))
    for number in range(1, 20):
        os.link(root / "0", root / f"{number}")
        os.link(root / "big0", root / f"big{number}")
    saver = a_saver(store, root, executor)
    await saver.copy()
    commit = await saver.commit()
    assert len([key for key in await stored(store, "data/") if "/f" in key]) == 2
    (directory,) = await directories(store, commit.head)
    assert len({entry.link for entry in directory.entries}) == 2
    assert (commit.head.totals.files, commit.head.totals.bytes) == (40, 4 + 3 * PART)
    assert await tree_of(store, commit.head) == tree_on_disk(root)


async def test_an_empty_tree_is_a_complete_checkpoint(root, store, executor):
    saver = a_saver(store, root, executor)
    await saver.copy()
    commit = await saver.commit()
    assert commit.head.complete
    assert await tree_of(store, commit.head) == tree_on_disk(root)


async def test_each_head_says_of_the_jobs_what_it_holds_of_their_files(root, store, executor):
    (root / "a").write_bytes(b"a")
    saver = a_saver(store, root, executor, jobs=[{"job": 7, "uid": 4242, "complete": False, "torn": 0}])
    part = (await saver.commit()).head
    assert part.jobs == ({"job": 7, "uid": 4242, "complete": False, "torn": 0},)
    await saver.copy()
    whole = (await saver.commit()).head
    assert whole.jobs == ({"job": 7, "uid": 4242, "complete": True, "torn": 0},)


async def test_several_roots_are_one_checkpoint(tmp_path, store, executor):
    roots = [tmp_path / "one", tmp_path / "two"]
    for path in roots:
        path.mkdir()
        (path / "file").write_bytes(os.fsencode(path))
    saver = a_saver(store, None, executor, roots=roots)
    await saver.copy()
    commit = await saver.commit()
    assert await tree_of(store, commit.head) == tree_on_disk(*roots)


async def test_a_root_that_is_missing_is_trouble_and_the_others_are_saved(root, tmp_path, store, executor):
    (root / "file").write_bytes(b"1")
    saver = a_saver(store, None, executor, roots=[tmp_path / "nothing", root])
    await saver.copy()
    commit = await saver.commit()
    assert await tree_of(store, commit.head) == tree_on_disk(root)
    assert not commit.head.complete
    assert "No such file" in saver.trouble[0]


async def test_no_root_at_all_is_an_error(tmp_path, store, executor):
    with pytest.raises(RootMissing):
        await a_saver(store, tmp_path / "nothing", executor).copy()


async def test_what_is_excluded_is_not_missed(root, store, executor):
    plant(root)
    saver = a_saver(store, root, executor, exclude=["a", "*.tmp"])
    await saver.copy()
    commit = await saver.commit()
    assert commit.head.complete
    expected = {
        path: value for path, value in tree_on_disk(root).items() if not path.startswith(bytes(root / "a") + b"/")
    }
    del expected[bytes(root / "a")]
    assert await tree_of(store, commit.head) == expected


async def test_of_a_tree_only_the_paths_that_are_asked_for_are_saved(root, store, executor):
    for folder in ("7/deep", "70", "other"):
        (root / folder).mkdir(parents=True)
        (root / folder / "file").write_text(folder)
    saver = a_saver(store, root, executor, only=[str(root / "7"), "/elsewhere/other"])
    await saver.copy()
    commit = await saver.commit()
    saved = await tree_of(store, commit.head)
    assert {path.removeprefix(bytes(root)) for path in saved} <= {b"", b"/7", b"/7/deep", b"/7/deep/file"}
    assert bytes(root / "7/deep/file") in saved
    assert commit.head.complete


async def test_a_commit_without_news_is_the_one_that_stands(root, store, executor):
    plant(root)
    saver = a_saver(store, root, executor)
    await saver.copy()
    first = await saver.commit()
    assert await saver.commit() == first
    assert len(await stored(store, "checkpoints/")) == 1


async def test_p3_the_copy_commits_as_it_goes(root, store, executor):
    plant(root, files=40, large=6)
    heads = []

    class Slow(FlakyStore):
        async def put_part(self, *args, **kwargs):
            await asyncio.sleep(0.01)
            return await super().put_part(*args, **kwargs)

    told = []
    saver = a_saver(Slow(store), root, executor, connections=2, commit_every=0.02, committed=told.append)
    copying = asyncio.create_task(saver.copy())
    while not copying.done():
        head = await newest_head(store)
        if head and (not heads or heads[-1].n != head.n):
            heads.append(head)
            tree, disk = await tree_of(store, head), tree_on_disk(root)
            assert tree.items() <= disk.items()
        await asyncio.sleep(0.005)
    await copying
    assert len(heads) > 2
    assert not heads[0].complete
    assert heads[0].left.files
    assert [head.n for head in heads] == sorted({head.n for head in heads})
    final = await saver.commit()
    assert final.head.complete
    assert await tree_of(store, final.head) == tree_on_disk(root)
    assert told[-1] == final
    assert {head.n for head in heads} <= {commit.head.n for commit in told}


@pytest.mark.parametrize("hangs", [False, True])
async def test_p3_many_commits_are_merged_into_few_segments_and_none_waits_for_it(
    root, store, executor, monkeypatch, hangs
):
    monkeypatch.setattr("agent.checkpoint.commits.MOST_SEGMENTS", 4)  # constants: 64 commits take long
    monkeypatch.setattr("agent.checkpoint.save.LOOK_SECONDS", 0.001)
    for number in range(30):
        (root / f"d{number}").mkdir()
        (root / f"d{number}" / "file").write_bytes(b"%d" % number)
        (root / f"{number}").write_bytes(b"%d" % number)

    saver = None

    class Committing(FlakyStore):
        async def put(self, key, body, **options):
            stored = await super().put(key, body, **options)
            if "/f" in key and len(self.calls) < 200:
                commits.append(await saver.commit())
            return stored

        async def get(self, key, **options):
            reads.append(key)
            if hangs:
                await asyncio.get_running_loop().create_future()
            return await super().get(key, **options)

    commits, reads = [], []
    saver = a_saver(Committing(store), root, executor, connections=1)
    await saver.copy()
    final = await saver.commit()
    assert len(commits) > 30
    assert reads
    assert hangs or len(final.head.segments) < len(commits) / 2
    assert await tree_of(store, final.head) == tree_on_disk(root)
    disk = tree_on_disk(root)
    for commit in commits[::7]:
        assert (await tree_of(store, commit.head)).items() <= disk.items()


async def count_calls(root, executor):
    store = FlakyStore(MemoryStore(smallest_part=1))
    saver = a_saver(store, root, executor)
    await saver.copy()
    await saver.commit()
    return len(store.calls)


async def test_p2_a_store_that_denies_call_n_leaves_only_exact_checkpoints(root, executor):
    plant(root, files=4, large=2)
    disk = tree_on_disk(root)
    for number in range(1, await count_calls(root, executor) + 1):
        for after in (False, True):
            inner = MemoryStore(smallest_part=1)
            denied = StoreDenied("test", "call", f"number {number}")
            store = FlakyStore(inner, {number: Failure(error=denied, after=after)})
            saver = a_saver(store, root, executor, connections=2)
            try:
                await saver.copy()
                await saver.commit()
            except StoreDenied:
                commit = await saver.commit()
                tree = await tree_of(inner, commit.head)
                assert tree.items() <= disk.items()
                assert len(disk) - len(tree) <= commit.head.left.files or not commit.head.complete
                assert commit.head.complete == (tree == disk)
            head = await newest_head(inner)
            assert head == (await saver.commit()).head


async def test_p2_nothing_is_listed_before_the_head(root, store, executor):
    plant(root)
    saver = a_saver(store, root, executor)
    await saver.copy()
    assert await newest_head(store) is None
    assert [key for key in await stored(store) if key.startswith("data/")]


async def test_a_head_whose_reply_was_lost_is_recognised(root, store, executor):
    (root / "file").write_bytes(b"1")

    class Repeating(FlakyStore):
        """What the retrying store does when a reply is lost: it puts again."""

        async def put(self, key, body, **options):
            stored = await super().put(key, body, **options)
            if "checkpoints/" in key:
                await super().put(key, body, **options)
            return stored

    saver = a_saver(Repeating(store), root, executor)
    await saver.copy()
    assert (await saver.commit()).head.n == 1
    assert len(await stored(store, "checkpoints/")) == 1


async def test_a_head_of_somebody_else_is_never_replaced(root, store, executor):
    (root / "file").write_bytes(b"1")
    first = a_saver(store, root, executor)
    await first.copy()
    before = await first.commit()
    (root / "file").write_bytes(b"22")
    second = a_saver(store, root, executor)
    await second.copy()
    assert (await second.commit()).head.n == 2
    assert before.head.n == 1


@pytest.mark.parametrize("seed", range(40))
async def test_p3_cut_anywhere_the_commit_restores_what_it_says(root, store, executor, seed):
    plant(root, files=30, large=4)
    disk = tree_on_disk(root)
    calls = 0

    class Cutting(FlakyStore):
        async def _call(self, name, key, call):
            nonlocal calls
            calls += 1
            if calls == 1 + seed * 2:
                copying.cancel()
            await asyncio.sleep(0)
            return await super()._call(name, key, call)

    saver = a_saver(Cutting(store), root, executor, commit_every=0.003)
    copying = asyncio.create_task(saver.copy())
    await asyncio.wait([copying])
    commit = await saver.commit()
    tree = await tree_of(store, commit.head)
    assert tree.items() <= disk.items()
    assert commit.head.complete == (tree == disk)
    files = sum(value[0] == "f" for value in tree.values())
    assert files == commit.head.totals.files
    assert commit.head == await newest_head(store)
    if not commit.head.complete:
        assert not copying.done() or copying.cancelled()


async def test_a_file_that_can_not_be_read_is_left_and_the_others_go_on(root, store, executor, monkeypatch):
    plant(root, files=5)
    real = os.preadv

    def failing(fd, buffers, offset, flags=0):
        name = str(Path(f"/proc/self/fd/{fd}").readlink())
        if name.endswith(("/a/3", "/big1")):
            raise OSError(5, "Input/output error")
        return real(fd, buffers, offset, flags)

    monkeypatch.setattr(os, "preadv", failing)  # the kernel: no disk here fails on demand
    saver = a_saver(store, root, executor)
    await saver.copy()
    commit = await saver.commit()
    monkeypatch.undo()
    assert not commit.head.complete
    assert commit.head.left.files == 2
    assert sorted(commit.head.left.paths) == [f"{root}/a/3", f"{root}/a/x/big1"]
    assert all("Input/output error" in sentence for sentence in saver.trouble)
    expected = tree_on_disk(root)
    for path in commit.head.left.paths:
        del expected[os.fsencode(path)]
    assert await tree_of(store, commit.head) == expected


async def test_progress_is_told_and_ends_with_everything(root, store, executor):
    plant(root)
    told = []
    saver = a_saver(store, root, executor, report=told.append)
    await saver.copy()
    last = told[-1]
    assert last.walked
    assert last.files_done == last.files_total == 26
    assert last.bytes_done == last.bytes_total
    assert last.bytes_sent == saver.totals.bytes
    assert len(told) < 20


async def test_only_permanent_errors_of_the_store_end_the_copy(root, store, executor):
    plant(root)
    broken = FlakyStore(store, {5: Failure(error=StoreDenied("put", "key", "no"))})
    with pytest.raises(PermanentError, match="no"):
        await a_saver(broken, root, executor).copy()


async def test_small_files_do_not_wait_for_a_huge_one(root, store, executor):
    (root / "0 huge").write_bytes(os.urandom(60 * PART))
    for number in range(20):
        (root / f"small{number}").write_bytes(b"%d" % number)
    flaky = FlakyStore(store)
    saver = a_saver(flaky, root, executor, connections=4)
    await saver.copy()
    smalls = [at for at, call in enumerate(flaky.calls) if "small" in call]
    parts = [at for at, call in enumerate(flaky.calls) if call.startswith("put_part")]
    assert max(smalls) < parts[40]


async def test_one_huge_file_has_all_connections(root, store, executor):
    (root / "huge").write_bytes(os.urandom(40 * PART))
    under_way = most = 0

    class Counting(FlakyStore):
        async def put_part(self, *args, **options):
            nonlocal under_way, most
            under_way += 1
            most = max(most, under_way)
            await asyncio.sleep(0.001)
            try:
                return await super().put_part(*args, **options)
            finally:
                under_way -= 1

    await a_saver(Counting(store), root, executor, connections=4).copy()
    assert most == 4


async def test_keys_are_those_of_the_format(root, store, executor):
    (root / "a b").write_bytes(b"1")
    saver = a_saver(store, root, executor)
    await saver.copy()
    commit = await saver.commit()
    keys = await stored(store)
    assert keys[0] == commit.key == f"checkpoints/test-00000001/n1/AROA1:i-1/{commit.head.checkpoint}.1.json"
    assert [key.split("/", 3)[3] for key in keys[1:]] == ["f1/a%20b", "seg-1.jsonl.gz"]
    assert (await store.head(f"{PREFIX}/{commit.key}")).size
