"""Passes over the last head: only what differs is sent and written, and the head says all there is."""

import asyncio
import os
import shutil
import tempfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agent.checkpoint import save
from agent.checkpoint.backlog import Backlog
from agent.checkpoint.choice import Choice
from agent.checkpoint.outline import pass_of
from agent.checkpoint.save import is_scattered
from agent.model.checkpoint import EntryType, SegmentRef, Totals
from tests.fakes.checkpoints import a_head
from tests.fakes.flaky_store import FlakyStore
from tests.fakes.saved import directories, tree_of, tree_on_disk
from tests.fakes.saved_again import Days, Node, plant


async def totals_of(store, head):
    """What the segments of a head hold, counted anew."""
    found = await directories(store, head)
    entries = [entry for directory in found for entry in directory.entries]
    once = {entry.link or (number,): entry for number, entry in enumerate(entries)}
    return Totals(
        files=sum(entry.type is EntryType.FILE for entry in entries),
        bytes=sum(entry.ref.length for entry in once.values() if entry.ref),
        directories=sum(not directory.run for directory in found),
        symlinks=sum(entry.type is EntryType.SYMLINK for entry in entries),
        skipped=sum(entry.type.is_skipped for entry in entries),
        torn=sum(entry.torn for entry in entries),
    )


async def test_with_nothing_changed_the_next_head_names_the_same_segments(node):
    plant(node.root)
    first = await node.save()
    objects = await node.objects()
    second = await node.save()
    assert second.segments == first.segments
    assert (second.totals, second.complete, second.checkpoint != first.checkpoint) == (first.totals, True, True)
    assert await node.objects() == objects


async def test_a_delta_holds_only_what_differs(node):
    plant(node.root)
    first = await node.save()
    (node.root / "a" / "03").write_bytes(b"changed")
    (node.root / "a" / "04").unlink()
    (node.root / "new").write_bytes(b"new")
    second = await node.save()
    assert second.segments[:-1] == first.segments
    assert second.segments[-1].entries == 2
    assert await tree_of(node.store, second) == tree_on_disk(node.root)
    assert second.totals == await totals_of(node.store, second)
    assert second.totals.files == first.totals.files


@pytest.mark.parametrize("gone", ["1", "2"])
async def test_the_bytes_of_hard_links_count_while_the_row_of_one_name_stands(node, gone):
    for name in ("1", "2"):
        (node.root / name).mkdir()
    (node.root / "1" / "file").write_bytes(b"a" * 1000)
    os.link(node.root / "1" / "file", node.root / "2" / "file")
    (node.root / "other").write_bytes(b"b" * 10)
    await node.save()

    (node.root / gone / "file").unlink()
    left_behind = await node.save(choice=Choice(most_bytes=0))
    assert left_behind.left.files == 1
    assert left_behind.totals == await totals_of(node.store, left_behind)
    assert left_behind.totals.bytes == 1010

    whole = await node.save()
    assert whole.totals == await totals_of(node.store, whole)
    assert whole.totals.bytes == 1010


def link_to_directory(root):
    (root / "link").unlink()
    (root / "link").mkdir()
    (root / "link" / "x").write_bytes(b"x")


def directory_to_link(root):
    shutil.rmtree(root / "c")
    (root / "c").symlink_to("a")


def directory_to_file(root):
    shutil.rmtree(root / "c")
    (root / "c").write_bytes(b"file now")


def moved_and_replaced(root):
    (root / "a" / "b").rename(root / "b")
    (root / "a" / "b").write_bytes(b"file now")


CHANGES = {
    "a directory with another name": lambda root: (root / "a").rename(root / "z"),
    "a link that became a directory": link_to_directory,
    "a directory that became a link": directory_to_link,
    "a directory that became a file": directory_to_file,
    "a directory that moved, a file in its place": moved_and_replaced,
    "the mode of a directory": lambda root: (root / "empty").chmod(0o700),
    "the mode of a file": lambda root: (root / "a" / "03").chmod(0o700),
    "an attribute of a directory": lambda root: os.setxattr(root / "empty", "user.a", b"1"),
    "a name less of a file": lambda root: (root / "a" / "hard").unlink(),
    "an empty directory less": lambda root: (root / "empty").rmdir(),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
async def test_whatever_became_of_a_name_the_next_head_says_so(node, change):
    plant(node.root)
    await node.save()
    change(node.root)
    head = await node.save()
    assert await tree_of(node.store, head) == tree_on_disk(node.root)
    assert head.totals == await totals_of(node.store, head)
    assert head.complete
    again = await node.save()
    assert again.segments == head.segments


async def test_a_directory_that_became_a_file_that_is_left_behind_is_neither_held_nor_counted(node):
    plant(node.root)
    (node.root / "a" / "hard").unlink()
    await node.save()
    directory_to_file(node.root)
    head = await node.save(choice=Choice(most_bytes=0))
    assert f"{node.root}/c" in head.left.paths
    assert os.fsencode(node.root / "c" / "file") not in await tree_of(node.store, head)
    assert head.totals == await totals_of(node.store, head)
    head = await node.save()
    assert await tree_of(node.store, head) == tree_on_disk(node.root)
    assert head.totals == await totals_of(node.store, head)


async def test_files_whose_metadata_changed_are_read_and_not_sent_again(node):
    plant(node.root)
    await node.save()
    objects = await node.objects()
    os.utime(node.root / "a" / "03")
    (node.root / "a" / "05").chmod(0o600)
    head = await node.save()
    assert await tree_of(node.store, head) == tree_on_disk(node.root)
    assert len(await node.objects()) == len(objects) + 2  # times can't tell: an equal size and content is still sent


async def test_a_file_that_may_have_changed_unseen_is_read_and_not_sent_again(node):
    plant(node.root)
    now = type("Now", (), {"now": lambda _: datetime.now(UTC)})()
    await node.save(clock=now)
    objects = await node.objects()
    assert (await node.scan()).unsure_files == 23
    head = await node.save(quiesced=True)
    assert await node.objects() == objects
    assert await tree_of(node.store, head) == tree_on_disk(node.root)
    assert (await node.scan()).unsure_files == 0


async def test_above_eight_segments_they_are_made_one(node, monkeypatch):
    monkeypatch.setattr(save, "MOST_LAYERS", 3)  # a constant
    plant(node.root)
    counts = []
    for number in range(9):
        (node.root / f"more {number}").write_bytes(b"%d" % number)
        (node.root / "a" / f"{number:02}").unlink()
        head = await node.save()
        counts.append(len(head.segments))
        assert await tree_of(node.store, head) == tree_on_disk(node.root)
        assert head.totals == await totals_of(node.store, head)
    assert max(counts) == 4
    assert counts.count(2) >= 2


async def test_a_tree_that_is_committed_in_many_steps_has_each_directory_in_one_segment(node):
    for folder in range(40):
        (node.root / f"{folder}").mkdir()
        for number in range(25):
            (node.root / f"{folder}" / f"{number}").write_bytes(b"%d" % number)

    class Slow(FlakyStore):
        async def put(self, key, body, **options):
            await asyncio.sleep(0.02)
            await super().put(key, body, **options)

    head = await node.save(store=Slow(node.store), commit_every=0.001, pack_below=1000, pack_size=60_000, connections=2)
    assert len(head.segments) > 4
    assert sum(ref.directories for ref in head.segments) == head.totals.directories
    assert await tree_of(node.store, head) == tree_on_disk(node.root)


@pytest.mark.parametrize(
    ("files", "directories", "in_segments", "scattered"),
    [
        (1_000_000, 5000, [5000], False),
        (1_000_000, 5000, [4000, 1250], False),
        (1_000_000, 5000, [4000, 1400], True),
        (1_000_000, 1, [1] * 30, True),
        (100, 10, [10] * 8, False),
        (0, 0, [], False),
    ],
)
def test_a_base_is_scattered_when_many_files_are_in_directories_that_stand_in_several_segments(
    files, directories, in_segments, scattered
):
    segment = SegmentRef(key="k", size=1, sha256="", directories=0, entries=1)
    segments = tuple(replace(segment, directories=count) for count in in_segments)
    assert is_scattered(a_head(totals=Totals(files=files, directories=directories), segments=segments)) is scattered


async def test_directories_that_stand_in_several_segments_are_put_together(node, monkeypatch):
    monkeypatch.setattr(save, "FEW", 0)  # a constant
    plant(node.root)
    for _ in range(3):
        (node.root / "a" / "03").write_bytes(os.urandom(20))
        (node.root / "c" / "file").write_bytes(os.urandom(20))
        head = await node.save()
    assert is_scattered(head)
    head = await node.save()
    assert (len(head.segments), is_scattered(head)) == (1, False)
    assert await tree_of(node.store, head) == tree_on_disk(node.root)


async def test_what_is_damaged_on_the_disk_is_had_from_the_store(node):
    plant(node.root)
    first = await node.save()
    for path in node.cache._directory.iterdir():
        if path.name != "head.json":
            path.write_bytes(path.read_bytes()[:-1] + b"?")
    second = await node.save()
    assert second.segments == first.segments
    (node.cache._directory / "head.json").write_bytes(b"{}")
    third = await node.save()
    assert await tree_of(node.store, third) == tree_on_disk(node.root)
    assert third.segments != first.segments


async def test_a_copy_ahead_leaves_what_changed_of_late_with_its_older_row(node):
    plant(node.root)
    await node.save()
    before = tree_on_disk(node.root)
    (node.root / "a" / "03").write_bytes(b"changed")
    (node.root / "fresh").write_bytes(b"fresh")
    os.utime(node.root / "fresh", (1, 1))
    head = await node.save(choice=Choice(changed_before=datetime.now(UTC) - timedelta(minutes=1)))
    assert not head.complete
    assert (head.left.files, set(head.left.paths)) == (2, {f"{node.root}/a/03", f"{node.root}/fresh"})
    tree = await tree_of(node.store, head)
    name = os.fsencode(node.root / "a" / "03")
    assert tree[name] == before[name]
    assert (await node.save()).complete


async def test_a_copy_ahead_stores_no_more_than_it_may(node):
    for number in range(10):
        (node.root / f"{number}").write_bytes(bytes(100))
    head = await node.save(choice=Choice(most_bytes=350))
    assert (head.totals.files, head.left.files, head.complete) == (4, 6, False)
    looked = await node.scan()
    assert (looked.files, looked.bytes, looked.total_files, looked.total_bytes) == (6, 600, 10, 1000)


async def test_a_scan_says_what_is_not_saved_and_since_when(node):
    plant(node.root)
    looked = await node.scan()
    assert (looked.files, looked.total_files, looked.problems) == (23, 23, 0)
    await node.save()
    looked = await node.scan()
    assert (looked.files, looked.bytes, looked.oldest_change, looked.total_files) == (0, 0, None, 23)
    (node.root / "new").write_bytes(b"12345")
    looked = await node.scan()
    changed = datetime.fromtimestamp((node.root / "new").stat().st_ctime_ns / 1e9, UTC)
    assert (looked.files, looked.bytes, looked.oldest_change, looked.total_files) == (1, 5, changed, 24)
    assert looked.cpu_seconds > 0


async def test_what_is_too_old_to_be_referred_to_is_stored_again(node):
    plant(node.root)
    options = {"refresh_after": timedelta(days=7)}
    await node.save(clock=Days(0.1), **options)
    old = set(await node.objects())
    (node.root / "new").write_bytes(b"new")
    await node.save(clock=Days(5), **options)
    assert old < set(await node.objects())
    younger = set(await node.objects()) - old
    head = await node.save(clock=Days(8), **options)
    assert await tree_of(node.store, head) == tree_on_disk(node.root)
    found = await directories(node.store, head)
    used = {entry.ref.key for directory in found for entry in directory.entries if entry.ref}
    assert not used & old
    assert used & younger
    assert head.complete
    await node.save(clock=Days(8.1), **options)
    last = await node.save(clock=Days(8.2), **options)
    assert min(pass_of(ref.key) for ref in last.segments) > min(pass_of(key) for key in younger)


async def test_what_a_clock_far_ahead_has_dated_is_stored_anew_once_it_is_right(node):
    plant(node.root)
    await node.save(clock=Days(400))
    wrong = set(await node.objects())
    looked = await node.scan(clock=Days(0.1))
    assert (looked.files, looked.total_files) == (23, 23)
    saver = node.saver(clock=Days(0.1))
    await saver.copy()
    head = (await saver.commit()).head
    found = await directories(node.store, head)
    assert head.complete
    assert not {entry.ref.key for directory in found for entry in directory.entries if entry.ref} & wrong
    assert await tree_of(node.store, head) == tree_on_disk(node.root)
    assert [said for said in saver.trouble if "by a clock that was wrong then or is now" in said]
    right = set(await node.objects())
    await node.save(clock=Days(0.2))
    assert set(await node.objects()) == right


async def test_what_is_only_to_be_stored_again_is_not_left_where_there_is_no_room(node):
    plant(node.root)
    await node.save(clock=Days(0.1))
    (node.root / "new").write_bytes(b"new")
    await node.save(clock=Days(5))
    head = await node.save(clock=Days(8), refresh_after=timedelta(days=7), choice=Choice(most_bytes=0))
    assert (head.complete, head.left.files) == (True, 0)
    assert await tree_of(node.store, head) == tree_on_disk(node.root)


async def test_a_head_that_is_too_old_is_not_built_on(node):
    plant(node.root)
    first = await node.save(clock=Days(0.1))
    head = await node.save(clock=Days(8), refresh_after=timedelta(days=7))
    assert not {ref.key for ref in first.segments} & {ref.key for ref in head.segments}
    assert await tree_of(node.store, head) == tree_on_disk(node.root)


names = st.sampled_from(["a", "b", "a-b", "c", "d.x"])
paths = st.lists(names, min_size=1, max_size=3).map("/".join)
acts = st.tuples(st.sampled_from(["write", "mkdir", "remove", "link", "symlink", "rename", "chmod"]), paths, paths)


def remove(path):
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()


def act(root, what, path, other):
    """Do something to the tree, or nothing where it does not apply."""
    one, two = root / path, root / other
    acts = {
        "write": lambda: (one.parent.mkdir(parents=True, exist_ok=True), one.write_bytes(os.urandom(5))),
        "mkdir": lambda: one.mkdir(parents=True),
        "remove": lambda: remove(one),
        "link": lambda: os.link(one, two),
        "symlink": lambda: one.symlink_to("x"),
        "rename": lambda: one.rename(two),
        "chmod": lambda: one.chmod(0o711),
    }
    with suppress(OSError):
        acts[what]()


@settings(max_examples=25, derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.lists(acts, max_size=8), min_size=2, max_size=4))
def test_after_any_changes_each_head_restores_the_tree_as_it_was(passes):
    async def run():
        with tempfile.TemporaryDirectory(dir="/var/tmp") as directory, ThreadPoolExecutor(4) as executor:
            node = Node(Path(directory), executor)
            for todo in passes:
                for one in todo:
                    act(node.root, *one)
                head = await node.save()
                assert head.complete
                assert await tree_of(node.store, head) == tree_on_disk(node.root)
                assert head.totals == await totals_of(node.store, head)
                looked = await node.scan()
                assert (looked.files, looked.total_files) == (0, head.totals.files)

    asyncio.run(run())


@pytest.mark.parametrize("pack_below", [0, 1 << 20], ids=["alone", "in a pack"])
async def test_p2_a_name_that_a_file_gets_between_the_walk_and_its_reading_is_in_the_next_head(
    node, monkeypatch, pack_below
):
    (node.root / "b").write_bytes(b"b")
    put = Backlog.put

    async def link_first(backlog, job):
        os.link(node.root / "b", node.root / "a")
        await put(backlog, job)

    with monkeypatch.context() as patch:
        patch.setattr(Backlog, "put", link_first)
        await node.save(pack_below=pack_below)
    found = await directories(node.store, await node.save(pack_below=pack_below))
    links = {entry.link for directory in found for entry in directory.entries}
    assert len(links) == 1
    assert "" not in links


async def test_a_scan_says_how_much_changed_how_long_ago(node):
    plant(node.root)
    looked = await node.scan()
    ages = [age for age, _ in looked.by_age]
    assert ages == sorted(ages, reverse=True)
    assert sum(size for _, size in looked.by_age) == looked.bytes > 0
