"""Small files saved in packs: what is in them, who reads them, what happens when files change or a life ends."""

import asyncio
import os
import subprocess
import tarfile
from io import BytesIO

import pytest

from agent.checkpoint import lane
from agent.checkpoint.keys import full
from agent.checkpoint.receipts import Receipts
from agent.checkpoint.restore import Restorer
from agent.checkpoint.verify import verify
from tests.fakes.flaky_store import FlakyStore
from tests.fakes.saved import PREFIX, a_saver, directories, newest_head, stored, tree_of, tree_on_disk

KIB = 1 << 10
PACKED = {"pack_below": 16 * KIB, "pack_size": 64 * KIB}
LONG_AGO = 1_600_000_000


def plant(root, count=40):
    for number in range(count):
        (root / f"d{number % 3}").mkdir(exist_ok=True)
        (root / f"d{number % 3}" / f"{number}").write_bytes(os.urandom(number * 300))
    (root / "empty").touch()
    (root / "d1" / "again").hardlink_to(root / "d0" / "3")
    (root / os.fsdecode(b"odd \xff\n")).write_bytes(b"odd")
    (root / ("n" * 200)).write_bytes(b"long name")
    (root / "link").symlink_to("d0")
    os.chown(root / "d0" / "6", 4242, 2**31)
    (root / "d0" / "6").chmod(0o4755)
    with (root / "sparse").open("wb") as file:
        file.truncate(8 * KIB)
        file.seek(4 * KIB)
        file.write(b"island")


async def saved(store, root, executor, **options):
    saver = a_saver(store, root, executor, **(PACKED | options))
    await asyncio.wait_for(saver.copy(), 30)
    return await saver.commit()


async def packs(store):
    return [key for key in await stored(store, "data/") if key.endswith(".tar")]


async def entries(store, head):
    return {entry.name: entry for directory in await directories(store, head) for entry in directory.entries}


def torn(found):
    return [name for name, entry in found.items() if entry.torn]


class Meddling(FlakyStore):
    """Does something to the disk before each put of a pack."""

    def __init__(self, store, act):
        super().__init__(store)
        self._act = act

    async def _call(self, name, key, call):
        if key.endswith(".tar"):
            self._act()
        return await super()._call(name, key, call)


async def test_p2_small_files_in_packs_are_the_tree_on_the_disk(root, store, executor):
    plant(root)
    commit = await saved(store, root, executor)
    assert commit.head.complete
    assert await tree_of(store, commit.head) == tree_on_disk(root)
    sizes = [(await store.head(full(PREFIX, key))).size for key in await packs(store)]
    assert len(sizes) == -(-sum(sizes) // (64 * KIB))
    assert max(sizes) < 80 * KIB


async def test_p2_a_pack_comes_back_as_it_was_and_verifies(root, store, executor, tmp_path):
    plant(root)
    commit = await saved(store, root, executor)
    restorer = Restorer(store, PREFIX, target=tmp_path / "to", executor=executor, owner=os.geteuid() == 0)
    restored = await restorer.restore(commit)
    assert not restored.problems
    before, after = tree_on_disk(root), tree_on_disk(tmp_path / "to")
    assert list(after.values()) == list(before.values())
    assert (tmp_path / "to/d1/again").stat().st_ino == (tmp_path / "to/d0/3").stat().st_ino
    for deep in (False, True):
        assert (await verify(store, PREFIX, commit, executor=executor, deep=deep)).problem_count == 0


async def test_tar_alone_gives_back_every_file_that_has_no_holes(root, store, executor, tmp_path):
    plant(root)
    await saved(store, root, executor)
    for key in await packs(store):
        body = await store.get(full(PREFIX, key))
        done = await asyncio.to_thread(
            subprocess.run, ["tar", "-x", "-C", tmp_path], input=body, capture_output=True, check=True
        )
        assert not done.stderr
    for path in root.rglob("*"):
        if path.is_file() and path.name not in {"sparse", "again"}:
            there = tmp_path / path.relative_to(root)
            assert there.read_bytes() == path.read_bytes()
            assert there.stat().st_mtime == int(path.stat().st_mtime)


async def test_members_of_several_roots_are_told_apart(tmp_path, store, executor):
    roots = [tmp_path / "one", tmp_path / "two"]
    for root in roots:
        root.mkdir()
        (root / "same").write_bytes(bytes(root))
    commit = await saved(store, None, executor, roots=roots)
    (key,) = await packs(store)
    with tarfile.open(fileobj=BytesIO(await store.get(full(PREFIX, key)))) as tar:
        assert sorted(tar.getnames()) == [f"{root}/same".lstrip("/") for root in roots]
    assert await tree_of(store, commit.head) == tree_on_disk(*roots)


async def test_only_files_without_holes_below_the_size_are_packed(root, store, executor):
    plant(root)
    (root / "below").write_bytes(bytes(16 * KIB - 1))
    (root / "not below").write_bytes(bytes(16 * KIB))
    found = await entries(store, (await saved(store, root, executor)).head)
    assert found[b"below"].ref.key.endswith(".tar")
    assert found[b"not below"].ref.key.endswith("/not%20below")
    assert found[b"sparse"].extents == ((4 * KIB, 4 * KIB),)
    assert found[b"sparse"].ref.key.endswith("/sparse")


async def test_a_file_that_grew_since_it_was_seen_is_whole(root, store, executor, monkeypatch):
    monkeypatch.setattr(lane, "PACK_FILES", 2)  # a constant
    for number in range(8):
        (root / f"{number}").write_bytes(b"%d" % number)

    def grow():
        if (root / "7").stat().st_size == 1:
            (root / "6").write_bytes(b"6" * 10 * KIB)
            (root / "7").write_bytes(b"7" * 20 * KIB)

    commit = await saved(Meddling(store, grow), root, executor, connections=1)
    assert commit.head.complete
    found = await entries(store, commit.head)
    assert found[b"7"].ref.length == 20 * KIB
    assert await tree_of(store, commit.head) == tree_on_disk(root)


def changing(monkeypatch, path, times):
    """Make a file change while it is read, so many times."""
    pread, left = os.preadv, [times]

    def preadv(fd, buffers, offset, flags=0):
        if left[0] and not offset and os.fstat(fd).st_ino == path.stat().st_ino:
            left[0] -= 1
            os.truncate(path, 1000 * left[0] + 10)
        return pread(fd, buffers, offset, flags)

    monkeypatch.setattr(os, "preadv", preadv)


@pytest.mark.parametrize(("times", "is_torn"), [(1, False), (2, False), (3, True)])
async def test_a_file_that_changes_while_it_is_read_is_read_again_and_at_last_torn(
    root, store, executor, monkeypatch, times, is_torn
):
    for name in ("before", "moving", "next"):
        (root / name).write_bytes(os.urandom(5000))
    changing(monkeypatch, root / "moving", times)
    commit = await saved(store, root, executor)
    found = await entries(store, commit.head)
    assert torn(found) == ([b"moving"] if is_torn else [])
    assert commit.head.complete is not is_torn
    tree = await tree_of(store, commit.head)
    for name in ("before", "next") if is_torn else ("before", "moving", "next"):
        assert tree[os.fsencode(root / name)] == tree_on_disk(root)[os.fsencode(root / name)]
    with tarfile.open(fileobj=BytesIO(await store.get(full(PREFIX, (await packs(store))[0])))) as tar:
        assert len(tar.getmembers()) == 3


async def test_a_file_that_cannot_be_read_is_left_and_the_others_are_stored(root, store, executor, monkeypatch):
    for name in ("a", "bad", "c"):
        (root / name).write_bytes(os.urandom(1000))
    pread = os.preadv

    def preadv(fd, buffers, offset, flags=0):
        if os.fstat(fd).st_ino == (root / "bad").stat().st_ino:
            raise OSError(5, "Input/output error")
        return pread(fd, buffers, offset, flags)

    monkeypatch.setattr(os, "preadv", preadv)
    commit = await saved(store, root, executor)
    assert (commit.head.left.files, commit.head.left.paths) == (1, (str(root / "bad"),))
    assert set(await entries(store, commit.head)) == {b"a", b"c"}
    assert torn(await entries(store, commit.head)) == []


async def test_p3_few_small_files_are_committed_before_the_walk_ends(root, store, executor, monkeypatch):
    """Large files take long; the pack is not held back until they are through."""
    monkeypatch.setattr(lane, "PACK_SECONDS", 0.01)
    monkeypatch.setattr("agent.checkpoint.survey.SLICE", 1)
    (root / "a").mkdir()
    (root / "a" / "small").write_bytes(b"small")
    (root / "b").mkdir()
    (root / "b" / "large").write_bytes(os.urandom(1 << 20))
    seen = asyncio.Event()

    class Holding(FlakyStore):
        async def _call(self, name, key, call):
            if name == "put_part":
                await asyncio.wait_for(seen.wait(), 20)
            return await super()._call(name, key, call)

    def committed(commit):
        if commit.head.totals.files:
            seen.set()

    commit = await saved(Holding(store), root, executor, connections=1, commit_every=0.02, committed=committed)
    assert commit.head.complete
    assert commit.head.n > 1


@pytest.mark.parametrize("age", ["at rest", "new"])
async def test_p7_a_second_life_does_not_send_what_a_pack_holds(root, store, executor, tmp_path, age):
    plant(root)
    for path in root.rglob("*"):
        if age == "at rest":
            os.utime(path, (LONG_AGO, LONG_AGO), follow_symlinks=False)
    receipts = tmp_path / "receipts"
    await saved(store, root, executor, receipts=Receipts.load(receipts), quiesced=age == "at rest")
    flaky = FlakyStore(store)
    commit = await saved(flaky, root, executor, receipts=Receipts.load(receipts), quiesced=age == "at rest")
    assert [call for call in flaky.calls if ("put" in call and "/f" in call) or ".tar" in call] == []
    assert commit.head.complete
    assert await tree_of(store, commit.head) == tree_on_disk(root)


async def test_p7_only_what_changed_goes_into_another_pack(root, store, executor, tmp_path):
    plant(root)
    receipts = tmp_path / "receipts"
    await saved(store, root, executor, receipts=Receipts.load(receipts))
    before = await packs(store)
    (root / "d0" / "3").write_bytes(b"changed")
    commit = await saved(store, root, executor, receipts=Receipts.load(receipts))
    (new,) = set(await packs(store)) - set(before)
    with tarfile.open(fileobj=BytesIO(await store.get(full(PREFIX, new)))) as tar:
        assert tar.getnames() == ["d0/3"]
    assert await tree_of(store, commit.head) == tree_on_disk(root)


async def test_p2_nothing_of_a_pack_that_was_not_acknowledged_is_committed(root, store, executor):
    plant(root)

    class Deaf(FlakyStore):
        async def _call(self, name, key, call):
            if key.endswith(".tar"):
                await asyncio.Event().wait()
            return await super()._call(name, key, call)

    saver = a_saver(Deaf(store), root, executor, commit_every=0.02, **PACKED)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(saver.copy(), 0.3)
    commit = await saver.commit()
    assert not commit.head.complete
    assert {name for name, entry in (await entries(store, commit.head)).items() if entry.ref} <= {b"sparse"}
    assert commit.head == await newest_head(store)
