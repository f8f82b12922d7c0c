"""A copier that was killed and started again: the same receipts, the same checkpoint, another life."""

import asyncio
import json
import mmap
import os
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from agent.checkpoint.choice import Choice
from agent.checkpoint.commits import HeadHeldBack
from agent.checkpoint.receipts import Receipts
from agent.checksum import crc64nvme
from agent.store.base import StoreDenied, UploadMissing, size_of
from tests.fakes.flaky_store import Failure, FlakyStore
from tests.fakes.saved import PART, PREFIX, a_saver, directories, newest_head, stored, tree_of, tree_on_disk
from tests.fakes.saved_again import Days

CONNECTIONS = 4
PACK_BELOW = 10_000


@pytest.fixture
def receipts(tmp_path):
    path = tmp_path / "receipts.jsonl"
    return lambda: Receipts.load(path)


class Wire(FlakyStore):
    """Counts the bytes that the store acknowledged, and is cut at a given call."""

    def __init__(self, store, *, cut_at=None):
        super().__init__(store)
        self.acknowledged = 0
        self._cut_at = cut_at
        self.cut = asyncio.Event()

    async def put(self, key, body, **options):
        stored = await super().put(key, body, **options)
        self.acknowledged += size_of(body) if "/f" in key else 0
        return stored

    async def put_part(self, key, upload, number, body, **options):
        part = await super().put_part(key, upload, number, body, **options)
        self.acknowledged += part.size
        return part

    async def _call(self, name, key, call):
        await asyncio.sleep(0)
        if self.cut.is_set() or len(self.calls) + 1 == self._cut_at:
            self.cut.set()
            await asyncio.get_running_loop().create_future()  # a call that never ends
        return await super()._call(name, key, call)


async def killed(saver, wire):
    """Run the copy until the wire is cut, then let go of everything without a commit, as a kill -9 does."""
    copying = asyncio.create_task(saver.copy())
    cut = asyncio.create_task(wire.cut.wait())
    await asyncio.wait([copying, cut], return_when=asyncio.FIRST_COMPLETED)
    for task in (copying, cut):
        task.cancel()
    await asyncio.gather(copying, cut, return_exceptions=True)


def plant(root):
    (root / "d").mkdir()
    for number in range(20):
        (root / "d" / f"{number}").write_bytes(os.urandom(1000))
    for number in range(3):
        (root / f"big{number}").write_bytes(os.urandom(5 * PART + number))
    os.link(root / "big0", root / "d" / "hard")
    os.setxattr(root / "big1", "user.a", b"1")
    with (root / "holes").open("wb") as file:
        file.truncate(100 * PART)
        os.pwrite(file.fileno(), os.urandom(3 * PART), 50 * PART)


@pytest.mark.parametrize("cut_at", range(1, 60, 2))
async def test_p7_after_a_kill_only_what_was_in_flight_is_sent_again(root, store, executor, receipts, cut_at):
    plant(root)
    size = 20 * 1000 + 3 * 5 * PART + 3 + 3 * PART
    first = Wire(store, cut_at=cut_at)
    await killed(a_saver(first, root, executor, receipts=receipts(), connections=CONNECTIONS, commit_every=0.01), first)
    before = await newest_head(store)
    second = Wire(store)
    saver = a_saver(second, root, executor, receipts=receipts(), connections=CONNECTIONS)
    await saver.copy()
    commit = await saver.commit()
    assert await tree_of(store, commit.head) == tree_on_disk(root)
    assert commit.head.complete
    assert commit.head == await newest_head(store)
    assert before is None or before.n < commit.head.n
    assert first.acknowledged + second.acknowledged <= size + CONNECTIONS * PART
    assert second.acknowledged >= size - first.acknowledged


async def test_p7_with_nothing_changed_nothing_is_sent(root, store, executor, receipts):
    plant(root)
    first = a_saver(store, root, executor, receipts=receipts())
    await first.copy()
    await first.commit()
    wire = Wire(store)
    second = a_saver(wire, root, executor, receipts=receipts())
    await second.copy()
    commit = await second.commit()
    assert not wire.acknowledged
    assert await tree_of(store, commit.head) == tree_on_disk(root)
    assert (commit.head.complete, commit.head.n, len(commit.head.segments)) == (True, 2, 1)


async def test_a_second_pass_sends_what_changed_since(root, store, executor, receipts):
    plant(root)
    kept = receipts()
    first = a_saver(store, root, executor, receipts=kept)
    await first.copy()
    await first.commit()
    (root / "d" / "1").write_bytes(b"changed")
    (root / "d" / "2").unlink()
    (root / "new").write_bytes(b"new")
    (root / "d" / "3").unlink()
    (root / "d" / "3").mkdir()
    (root / "d" / "3" / "below").write_bytes(b"below")
    wire = Wire(store)
    second = a_saver(wire, root, executor, receipts=kept, quiesced=True)
    await second.copy()
    commit = await second.commit()
    assert wire.acknowledged == len(b"changed" + b"new" + b"below")
    assert await tree_of(store, commit.head) == tree_on_disk(root)
    assert (commit.head.complete, commit.head.quiesced) == (True, True)


def mapped(path, size):
    """A file with a page that a program has mapped and written to."""
    path.write_bytes(os.urandom(size))
    with path.open("r+b") as file:
        memory = mmap.mmap(file.fileno(), size)
    memory[0] = 1
    return memory


@pytest.mark.parametrize("size", [4096, 5 * PART])
async def test_a_write_through_mmap_that_shows_in_no_time_is_found(root, store, executor, receipts, size):
    memory = mapped(root / "file", size)
    first = a_saver(store, root, executor, receipts=receipts())
    await first.copy()
    (directory,) = await directories(store, (await first.commit()).head)
    assert directory.entries[0].unsettled
    before = (root / "file").stat()
    memory[1:3] = bytes(b ^ 0xFF for b in memory[1:3])
    assert (root / "file").stat() == before, "this file system tells of the write: the test shows nothing here"
    wire = Wire(store)
    second = a_saver(wire, root, executor, receipts=receipts(), quiesced=True)
    await second.copy()
    commit = await second.commit()
    assert await tree_of(store, commit.head) == tree_on_disk(root)
    assert wire.acknowledged == size
    (directory,) = await directories(store, commit.head)
    assert not directory.entries[0].unsettled


class Later:
    """A wall clock two minutes ahead: files that were written just now are at rest."""

    def now(self):
        return datetime.now(UTC) + timedelta(minutes=2)


@pytest.fixture
def on_a_disk():
    """A directory whose files' times can be believed: /tmp may be a tmpfs, /var/tmp outlives a reboot (hier(7))."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as directory:
        yield Path(directory)


@pytest.mark.parametrize("size", [4096, 2 * PACK_BELOW, 5 * PART])
async def test_a_write_through_mmap_to_a_file_at_rest_shows_in_its_times(on_a_disk, store, executor, receipts, size):
    """A page that is dirty for longer than the disk should take: each way to read a file has to have it written."""
    root = on_a_disk
    memory = mapped(root / "file", size)
    options = {"clock": Later(), "pack_below": PACK_BELOW}
    first = a_saver(store, root, executor, receipts=receipts(), **options)
    await first.copy()
    (directory,) = await directories(store, (await first.commit()).head)
    assert not directory.entries[0].unsettled
    before = (root / "file").stat().st_mtime_ns
    await asyncio.sleep(0.02)  # times of files go in steps of up to 10 ms
    memory[1:3] = bytes(b ^ 0xFF for b in memory[1:3])
    assert (root / "file").stat().st_mtime_ns != before
    second = a_saver(store, root, executor, receipts=receipts(), **options)
    await second.copy()
    assert await tree_of(store, (await second.commit()).head) == tree_on_disk(root)


async def test_parts_of_an_upload_that_was_cut_are_read_again_while_the_file_is_fresh(root, store, executor, receipts):
    memory = mapped(root / "file", 8 * PART)
    wire = Wire(store, cut_at=6)
    await killed(a_saver(wire, root, executor, receipts=receipts(), connections=1), wire)
    assert wire.acknowledged == 4 * PART
    memory[1:3] = bytes(b ^ 0xFF for b in memory[1:3])
    wire = Wire(store)
    second = a_saver(wire, root, executor, receipts=receipts())
    await second.copy()
    assert wire.acknowledged == 5 * PART
    assert await tree_of(store, (await second.commit()).head) == tree_on_disk(root)


async def test_p3_an_unfinished_second_pass_takes_nothing_away(root, store, executor, receipts):
    plant(root)
    kept = receipts()
    first = a_saver(store, root, executor, receipts=kept)
    await first.copy()
    await first.commit()
    old = tree_on_disk(root)
    (root / "big0").write_bytes(os.urandom(9 * PART))
    (root / "d" / "5").unlink()
    (root / "d" / "5").mkdir()
    (root / "d" / "5" / "x").write_bytes(b"x")
    (root / "a new one").write_bytes(b"new")
    new = tree_on_disk(root)
    wire = Wire(store, cut_at=8)
    second = a_saver(wire, root, executor, receipts=receipts())
    await killed(second, wire)
    wire.cut.clear()
    wire._cut_at = None
    commit = await second.commit()
    assert not commit.head.complete
    tree = await tree_of(store, commit.head)
    assert {path for path in old if path in new} <= tree.keys()
    for path, value in tree.items():
        assert value in (old.get(path), new.get(path))
    assert tree[os.fsencode(root / "d" / "5")][0] == "d"


async def test_p7_an_upload_that_the_store_dropped_is_begun_anew(root, store, executor, receipts):
    plant(root)
    first = Wire(store, cut_at=30)
    await killed(a_saver(first, root, executor, receipts=receipts()), first)
    for upload in list(store._uploads):
        await store.abort("", upload)
    saver = a_saver(store, root, executor, receipts=receipts())
    await saver.copy()
    assert await tree_of(store, (await saver.commit()).head) == tree_on_disk(root)


async def test_p2_parts_of_a_file_that_has_other_holes_by_now_are_not_taken_for_its_own(
    root, store, executor, receipts, monkeypatch
):
    """As with room that was reserved: no time tells of it, and of either the same number of bytes is sent."""
    data, gap = [os.urandom(PART) for _ in range(6)], bytes(PART)
    (root / "reserved").write_bytes(b"".join((*data[:2], gap, data[3], gap, data[5])))
    holes = [((0, 2 * PART), (3 * PART, 3 * PART)), ((0, 4 * PART), (5 * PART, PART))]
    clock = Later()
    monkeypatch.setattr("agent.scratch.reader.extents_of", lambda *_: holes[0])
    first = Wire(store, cut_at=5)
    await killed(a_saver(first, root, executor, receipts=receipts(), clock=clock), first)
    assert first.acknowledged == 3 * PART
    monkeypatch.setattr("agent.scratch.reader.extents_of", lambda *_: holes[1])
    saver = a_saver(store, root, executor, receipts=receipts(), clock=clock)
    await saver.copy()
    assert await tree_of(store, (await saver.commit()).head) == tree_on_disk(root)


async def test_p7_a_file_completed_just_before_the_kill_is_not_sent_again(root, store, executor, receipts, tmp_path):
    (root / "big").write_bytes(os.urandom(6 * PART))
    first = a_saver(store, root, executor, receipts=receipts())
    await first.copy()
    lines = (tmp_path / "receipts.jsonl").read_bytes().splitlines(keepends=True)
    for keep_part in (True, False):
        kept = [line for line in lines if b'"object"' not in line and (keep_part or b'"n":3' not in line)]
        (tmp_path / "receipts.jsonl").write_bytes(b"".join(kept))
        wire = Wire(store)
        second = a_saver(wire, root, executor, receipts=receipts())
        await second.copy()
        assert not wire.acknowledged
        assert await tree_of(store, (await second.commit()).head) == tree_on_disk(root)


async def test_an_upload_that_is_dropped_under_way_is_begun_anew(root, store, executor):
    (root / "big").write_bytes(os.urandom(6 * PART))
    for call in range(2, 9):
        missing = UploadMissing("put part", "big", "no such upload")
        flaky = FlakyStore(store, {call: Failure(error=missing)})
        saver = a_saver(flaky, root, executor, connections=2)
        await saver.copy()
        assert await tree_of(store, (await saver.commit()).head) == tree_on_disk(root)


async def test_p7_an_upload_whose_parts_make_something_else_is_begun_anew_and_holds_up_no_other(
    root, store, executor, receipts
):
    (root / "big").write_bytes(os.urandom(6 * PART))
    first = Wire(store, cut_at=5)
    await killed(a_saver(first, root, executor, receipts=receipts(), clock=Later()), first)
    (upload,) = store._uploads.values()
    part, _ = upload.parts[1]
    upload.parts[1] = (part, bytes(PART))
    saver = a_saver(store, root, executor, receipts=receipts(), clock=Later())
    await saver.copy()
    assert await tree_of(store, (await saver.commit()).head) == tree_on_disk(root)


async def test_an_upload_that_is_dropped_each_time_is_an_error(root, store, executor):
    (root / "big").write_bytes(os.urandom(6 * PART))

    class Forgetful(FlakyStore):
        async def complete(self, key, upload, parts, **options):
            raise UploadMissing("complete", key, "no such upload")

    with pytest.raises(UploadMissing):
        await a_saver(Forgetful(store), root, executor).copy()


async def test_a_role_that_may_not_abort_is_trouble_only(root, store, executor):
    (root / "big").write_bytes(os.urandom(6 * PART))

    class Denying(FlakyStore):
        async def abort(self, key, upload):
            raise StoreDenied("abort", key, "no")

    flaky = Denying(store, {4: Failure(error=UploadMissing("put part", "big", "gone"))})
    saver = a_saver(flaky, root, executor)
    await saver.copy()
    assert (await saver.commit()).head.complete
    assert any("abort" in sentence for sentence in saver.trouble)


async def test_p6_receipts_that_can_not_be_written_stop_nothing(root, store, executor):
    plant(root)
    receipts = Receipts(Path("/dev/full"))
    saver = a_saver(store, root, executor, receipts=receipts)
    await saver.copy()
    commit = await saver.commit()
    assert commit.head.complete
    assert any("No space left" in sentence for sentence in saver.trouble)
    assert await tree_of(store, commit.head) == tree_on_disk(root)


class Unreadable(Wire):
    """A store that lets nobody read the keys that a test says."""

    def __init__(self, store, *, denied, cut_at=None):
        super().__init__(store, cut_at=cut_at)
        self._denied = denied

    async def get(self, key, **options):
        if self._denied in key:
            raise StoreDenied("get", key, "no")
        return await super().get(key, **options)


async def saved(store, root, executor, kept):
    saver = a_saver(store, root, executor, receipts=kept)
    await saver.copy()
    return (await saver.commit()).head


async def test_p6_an_earlier_head_that_may_not_be_read_is_built_on_all_the_same(root, store, executor, receipts):
    plant(root)
    await saved(store, root, executor, receipts())
    wire = Unreadable(store, denied="checkpoints/")
    head = await saved(wire, root, executor, receipts())
    assert (head.complete, wire.acknowledged) == (True, 0)


@pytest.mark.parametrize("cut_at", range(2, 40, 6))
async def test_p2_segments_that_may_not_be_read_stay_in_the_checkpoint_until_all_is_stored_anew(
    root, store, executor, receipts, cut_at
):
    plant(root)
    await saved(store, root, executor, receipts())
    (root / "d" / "0").unlink()
    wire = Unreadable(store, denied="/seg-", cut_at=cut_at)
    await killed(a_saver(wire, root, executor, receipts=receipts(), commit_every=0.01), wire)
    tree, disk = await tree_of(store, await newest_head(store)), tree_on_disk(root)
    assert {path: tree.get(path) for path in disk if path != os.fsencode(root / "d")} == {
        path: value for path, value in disk.items() if path != os.fsencode(root / "d")
    }
    second = a_saver(Unreadable(store, denied="/seg-"), root, executor, receipts=receipts())
    await second.copy()
    head = (await second.commit()).head
    assert await tree_of(store, head) == tree_on_disk(root)
    assert any("get" in sentence for sentence in second.trouble)


@pytest.mark.parametrize("cut_at", range(1, 40, 6))
async def test_p3_a_clock_set_back_within_a_checkpoint_loses_nothing_of_it(root, store, executor, receipts, cut_at):
    plant(root)
    first = a_saver(store, root, executor, receipts=receipts(), clock=Days(400))
    await first.copy()
    await first.commit()
    wire = Wire(store, cut_at=cut_at)
    await killed(a_saver(wire, root, executor, receipts=receipts(), commit_every=0.01), wire)
    assert await tree_of(store, await newest_head(store)) == tree_on_disk(root)


async def test_p2_a_damaged_segment_is_named_no_more_and_what_it_held_is_stored_anew(root, store, executor, receipts):
    plant(root)
    first = await saved(store, root, executor, receipts())
    await store.put(f"{PREFIX}/{first.segments[0].key}", b"?", crc64nvme=crc64nvme(b"?"))
    head = await saved(store, root, executor, receipts())
    assert await tree_of(store, head) == tree_on_disk(root)


async def test_p2_an_earlier_head_that_nobody_can_read_stands_until_there_is_one_that_holds_all(
    root, store, executor, tmp_path
):
    plant(root)
    path = tmp_path / "receipts"
    first = await saved(store, root, executor, Receipts.load(path))
    lines = [json.loads(line) for line in path.read_bytes().splitlines()]
    path.write_text("".join(json.dumps(line | {"body": ""}) + "\n" for line in lines))  # of an older version
    wire = Unreadable(store, denied="checkpoints/", cut_at=30)
    second = a_saver(wire, root, executor, receipts=Receipts.load(path), commit_every=0.01)
    await killed(second, wire)
    wire.cut.clear()
    wire._cut_at = None
    with pytest.raises(HeadHeldBack, match="can't be read"):
        await second.commit()
    assert await newest_head(store) == first
    head = await saved(Unreadable(store, denied="checkpoints/"), root, executor, Receipts.load(path))
    assert (head.complete, head.n) == (True, 2)
    assert await tree_of(store, head) == tree_on_disk(root)


async def test_p2_heads_whose_receipts_were_lost_lose_nothing_to_a_later_life(root, store, executor, tmp_path):
    """A disk that was given up for a while: the copier that is started again knows older heads only."""
    path = tmp_path / "receipts"
    (root / "one").write_bytes(os.urandom(100))
    await saved(store, root, executor, Receipts.load(path))
    old = path.read_bytes()
    plant(root)
    await saved(store, root, executor, Receipts.load(path))
    path.write_bytes(old)
    (root / "two").write_bytes(os.urandom(100))

    class Few(Choice):
        def takes(self, entry):
            return entry.name == b"two"

    saver = a_saver(store, root, executor, receipts=Receipts.load(path), choice=Few())
    await saver.copy()
    head = (await saver.commit()).head
    assert (head.complete, head.n) == (False, 3)
    assert await tree_of(store, head) == tree_on_disk(root)


async def test_another_checkpoint_starts_anew(root, store, executor, receipts):
    plant(root)
    first = a_saver(store, root, executor, receipts=receipts())
    await first.copy()
    await first.commit()
    wire = Wire(store)
    other = a_saver(wire, root, executor, receipts=receipts(), checkpoint="20261123T101500.123Z-1a2b3c4d")
    await other.copy()
    commit = await other.commit()
    assert commit.head.n == 1
    assert wire.acknowledged == commit.head.totals.bytes
    assert len([key for key in await stored(store, "checkpoints/") if key.endswith(".1.json")]) == 2
    assert await store.head(f"{PREFIX}/{commit.key}")
