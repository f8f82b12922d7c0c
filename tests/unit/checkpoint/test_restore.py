import asyncio
import gzip
import json
import os
import stat
from dataclasses import replace
from pathlib import Path

import pytest

from agent.checkpoint.format import FormatInvalid
from agent.checkpoint.placing import NoRoom
from agent.checkpoint.restore import RestoreDamaged, Restorer
from agent.checkpoint.target import TargetUnusable
from agent.checkpoint.units import PART
from agent.checksum import crc64nvme
from agent.errors import IntegrityMismatch
from agent.model.checkpoint import Entry, EntryType, Totals
from agent.scratch.unfinished import UNFINISHED
from tests.fakes.checkpoints import DATA, a_directory, a_file, a_link, a_ref, a_stat
from tests.fakes.shelf import described, names, ours

IS_ROOT = os.getuid() == 0
needs_root = pytest.mark.skipif(not IS_ROOT, reason="owners and privileged attributes are for root")


@pytest.fixture
def restorer(shelf, executor, tmp_path):
    def build(target=tmp_path / "to", **options):
        options.setdefault("owner", IS_ROOT)
        return Restorer(shelf.store, shelf.prefix, target=target, executor=executor, **options)

    return build


def a_folder(path, *entries, **changed):
    stat_fields = {"mode": 0o755, "mtime_ns": 5_000_000_007, **ours()}
    return a_directory(path, *sorted(entries, key=lambda entry: entry.name), stat=a_stat(**stat_fields), **changed)


async def test_p2_a_tree_comes_back_as_it_was(shelf, restorer, tmp_path):
    plain = await shelf.files(
        {b"a": b"alpha", b"empty": b"", b"\xff odd\n": b"bytes"}, mtime_ns=1_700_000_000_123_456_789
    )
    deep = await shelf.files({b"x": b"deep"}, mode=0o400, mtime_ns=3)
    link = a_link(b"link", b"../else\xfe", mtime_ns=9, **ours())
    commit = await shelf.commit(
        [a_folder(b"", *plain, link), a_folder(b"d"), a_folder(b"d/e", *deep, xattrs={"user.k": b"v"}), a_folder(b"z")]
    )
    restored = await restorer().restore(commit)
    assert (restored.files, restored.bytes, restored.directories, restored.symlinks) == (4, 14, 4, 1)
    assert restored.problems == ()
    found = described(tmp_path / "to")
    assert set(found) == {b".", b"a", b"empty", b"\xff odd\n", b"link", b"d", b"d/e", b"d/e/x", b"z"}
    assert found[b"a"]["content"] == b"alpha"
    assert found[b"a"]["mtime"] == 1_700_000_000_123_456_789
    assert found[b"d/e/x"]["mode"] == 0o400
    assert found[b"link"]["content"] == b"../else\xfe"
    assert found[b"link"]["mtime"] == 9
    assert found[b"d/e"]["xattrs"] == {"user.k": b"v"}
    assert all(found[path]["mtime"] == 5_000_000_007 for path in (b".", b"d", b"d/e", b"z"))
    assert all(found[path]["mode"] == 0o755 for path in (b".", b"d", b"d/e", b"z"))


async def test_a_large_file_comes_in_parts_that_are_checked_together(shelf, restorer, tmp_path):
    data = os.urandom(2 * PART + 12_345)
    commit = await shelf.commit([a_folder(b"", await shelf.file(b"big", data))])
    restored = await restorer(connections=3).restore(commit)
    assert (restored.files, restored.bytes) == (1, len(data))
    assert (tmp_path / "to/big").read_bytes() == data


@pytest.mark.parametrize("stored", [3 << 10, PART + 4096])
async def test_holes_stay_holes(shelf, restorer, tmp_path, stored):
    data = os.urandom(stored)
    size = 64 << 20
    extents = ((1 << 20, 1 << 10), (33 << 20, stored - (1 << 10)))
    whole = await shelf.file(b"sparse", data)
    entry = replace(whole, stat=replace(whole.stat, size=size), extents=extents)
    all_hole = replace(entry, name=b"hole", extents=(), ref=None)
    await restorer().restore(await shelf.commit([a_folder(b"", entry, all_hole)]))
    found = (tmp_path / "to/sparse").read_bytes()
    assert len(found) == size
    assert found[1 << 20 : (1 << 20) + 1024] == data[:1024]
    assert found[33 << 20 : (33 << 20) + stored - 1024] == data[1024:]
    assert (tmp_path / "to/sparse").stat().st_blocks * 512 < stored + (1 << 20)
    assert (tmp_path / "to/hole").stat().st_blocks == 0
    assert (tmp_path / "to/hole").stat().st_size == size


async def test_p2_hard_links_come_back_as_hard_links(shelf, restorer, tmp_path):
    one = await shelf.file(b"one", b"same", link="7")
    other = await shelf.file(b"other", b"diff", link="7")
    commit = await shelf.commit(
        [a_folder(b"", one, replace(one, name=b"two"), other), a_folder(b"d", replace(one, name=b"three"))]
    )
    restored = await restorer().restore(commit)
    assert (restored.files, restored.bytes) == (4, 8)
    linked = [tmp_path / "to" / name for name in ("one", "two", "d/three")]
    assert len({path.stat().st_ino for path in linked}) == 1
    assert (tmp_path / "to/other").stat().st_ino != linked[0].stat().st_ino


async def test_a_link_whose_first_name_could_not_be_restored_is_a_file_of_its_own(shelf, restorer, tmp_path):
    first = await shelf.file(b"a", b"same", link="7")
    second = await shelf.file(b"b", b"same", link="7")
    shelf.lose(first.ref.key)
    with pytest.raises(RestoreDamaged):
        await restorer().restore(await shelf.commit([a_folder(b"", first, second)]))
    assert (tmp_path / "to/b").read_bytes() == b"same"


async def test_deltas_and_tombstones_are_merged(shelf, restorer, tmp_path):
    old = await shelf.files({b"keep": b"1", b"gone": b"2", b"change": b"3"})
    new = await shelf.files({b"change": b"4"})
    commit = await shelf.commit(
        [a_folder(b"", *old), a_folder(b"d", *old)], [a_folder(b"", *new, gone=(b"d", b"gone"))]
    )
    await restorer().restore(commit)
    assert names(tmp_path / "to") == ["change", "keep"]
    assert (tmp_path / "to/change").read_bytes() == b"4"


async def test_several_roots_go_below_the_target_by_their_paths(shelf, restorer, tmp_path):
    [entry] = await shelf.files({b"f": b"1"})
    lines = [a_folder(b"", entry), a_folder(b"", entry, root=1)]
    await restorer().restore(await shelf.commit(lines, roots=(b"/scratch", b"/local/\xff")))
    assert (tmp_path / "to/scratch/f").read_bytes() == b"1"
    assert names(tmp_path / "to/local") == [os.fsdecode(b"\xff")]


async def test_a_directory_without_a_line_of_its_parents_is_made(shelf, restorer, tmp_path):
    [entry] = await shelf.files({b"f": b"1"})
    restored = await restorer().restore(await shelf.commit([a_folder(b"a/b/c", entry)]))
    assert restored.problems == ()
    assert (tmp_path / "to/a/b/c/f").read_bytes() == b"1"


async def test_a_deep_tree_does_not_run_out_of_descriptors(shelf, restorer, tmp_path):
    [entry] = await shelf.files({b"f": b"1"})
    lines = [a_folder(b"/".join([b"d"] * depth), entry) for depth in range(1, 300)]
    restored = await restorer().restore(await shelf.commit(lines))
    assert restored.files == 299
    assert restored.problems == ()


@needs_root
async def test_root_gives_back_owners_setuid_and_privileged_attributes(shelf, restorer, tmp_path):
    entry = await shelf.file(b"tool", b"x")
    stat_of = replace(entry.stat, uid=4242, gid=4343, mode=0o4755)
    entry = replace(entry, stat=stat_of, xattrs={"trusted.k": b"v"})
    link = a_link(b"l", b"x", uid=4242, gid=4343)
    await restorer(owner=True).restore(await shelf.commit([a_folder(b"", entry, link)]))
    found = described(tmp_path / "to")
    assert found[b"tool"]["mode"] == 0o4755
    assert found[b"tool"]["owner"] == found[b"l"]["owner"] == (4242, 4343)
    assert found[b"tool"]["xattrs"] == {"trusted.k": b"v"}


async def test_p8_without_owner_nothing_privileged_is_given(shelf, restorer, tmp_path):
    entry = await shelf.file(b"tool", b"x")
    stat_of = replace(entry.stat, uid=4242, gid=4343, mode=0o6755)
    entry = replace(entry, stat=stat_of, xattrs={"trusted.k": b"v", "security.capability": b"v", "user.k": b"v"})
    restored = await restorer(owner=False).restore(await shelf.commit([a_folder(b"", entry)]))
    found = described(tmp_path / "to")[b"tool"]
    assert found["mode"] == 0o755
    assert found["owner"] == (os.getuid(), os.getgid())
    assert found["xattrs"] == {"user.k": b"v"}
    assert restored.problems == ()


async def test_an_attribute_that_cannot_be_set_is_a_problem_and_the_file_is_there(shelf, restorer, tmp_path):
    entry = replace(await shelf.file(b"f", b"x"), xattrs={"nonsense": b"v"})
    restored = await restorer(owner=True).restore(await shelf.commit([a_folder(b"", entry)]))
    assert (tmp_path / "to/f").read_bytes() == b"x"
    [problem] = restored.problems
    assert problem.path == b"f"
    assert "nonsense" in problem.detail


async def test_sockets_fifos_and_devices_are_not_made(shelf, restorer, tmp_path):
    kinds = sorted(kind for kind in EntryType if kind.is_skipped)
    entries = [Entry(name=kind.encode(), type=kind, stat=a_stat()) for kind in kinds]
    restored = await restorer().restore(await shelf.commit([a_folder(b"", *entries)]))
    assert restored.not_made == len(kinds)
    assert names(tmp_path / "to") == []


async def test_a_dry_run_counts_and_touches_nothing(shelf, restorer, tmp_path):
    entries = await shelf.files({b"a": b"12", b"b": b"3"}, torn=True)
    commit = await shelf.commit([a_folder(b"", *entries, a_link(b"l", b"x")), a_folder(b"d")])
    restored = await restorer().restore(commit, dry_run=True)
    assert (restored.files, restored.bytes, restored.directories, restored.symlinks) == (2, 3, 2, 1)
    assert restored.torn == 2
    assert not (tmp_path / "to").exists()


async def test_progress_ends_with_everything_done(shelf, restorer):
    told = []
    entries = await shelf.files({b"a": b"12", b"b": os.urandom(PART + 1)})
    commit = await shelf.commit([a_folder(b"", *entries)], totals=Totals(files=2, bytes=PART + 3))
    await restorer(report=told.append).restore(commit)
    assert (told[-1].files_done, told[-1].files_total) == (2, 2)
    assert told[-1].bytes_done == told[-1].bytes_total == PART + 3
    assert [each.bytes_done for each in told] == sorted(each.bytes_done for each in told)


async def test_a_restore_run_again_skips_what_is_there(shelf, restorer, tmp_path):
    entries = await shelf.files({b"a": b"alpha", b"b": b"beta"}, mtime_ns=77)
    one = await shelf.file(b"h1", b"link", link="1", mtime_ns=77)
    commit = await shelf.commit([a_folder(b"", *entries, one, replace(one, name=b"h2"), a_link(b"l", b"x"))])
    await restorer().restore(commit)
    before = described(tmp_path / "to")
    (tmp_path / "to/h2").unlink()
    restored = await restorer().restore(commit)
    assert (restored.files, restored.skipped_existing, restored.bytes) == (1, 3, 0)
    assert described(tmp_path / "to") == before


async def test_what_exists_and_differs_is_left_and_named(shelf, restorer, tmp_path):
    (tmp_path / "to").mkdir()
    (tmp_path / "to/a").write_text("mine")
    (tmp_path / "to/l").symlink_to("mine")
    (tmp_path / "to/b").mkdir()
    entries = await shelf.files({b"a": b"alpha", b"b": b"beta"})
    restored = await restorer().restore(await shelf.commit([a_folder(b"", *entries, a_link(b"l", b"x"))]))
    assert (tmp_path / "to/a").read_text() == "mine"
    assert (tmp_path / "to/l").readlink() == Path("mine")
    assert sorted(problem.path for problem in restored.problems) == [b"a", b"b", b"l"]


async def test_what_exists_is_replaced_when_asked_for(shelf, restorer, tmp_path):
    outside = tmp_path / "outside"
    outside.write_text("not mine")
    (tmp_path / "to/dir").mkdir(parents=True)
    (tmp_path / "to/a").write_text("mine")
    (tmp_path / "to/b").symlink_to(outside)
    entries = await shelf.files({b"a": b"alpha", b"b": b"beta", b"dir": b"file"})
    restored = await restorer(overwrite=True).restore(await shelf.commit([a_folder(b"", *entries)]))
    assert (tmp_path / "to/a").read_bytes() == b"alpha"
    assert (tmp_path / "to/b").read_bytes() == b"beta"
    assert not (tmp_path / "to/b").is_symlink()
    assert outside.read_text() == "not mine"
    assert [problem.path for problem in restored.problems] == [b"dir"]


async def test_p2_bytes_that_are_not_those_recorded_are_not_published(shelf, restorer, tmp_path):
    entries = await shelf.files({b"a": b"alpha", b"b": b"beta", b"c": b"gamma"})
    shelf.damage(entries[1].ref.key, at=entries[1].ref.offset)
    with pytest.raises(RestoreDamaged) as raised:
        await restorer().restore(await shelf.commit([a_folder(b"d", *entries)]))
    assert entries[1].ref.key in str(raised.value)
    assert "/scratch/d/b" in str(raised.value)
    assert raised.value.exit_code == 6
    assert raised.value.restored.files == 2
    assert names(tmp_path / "to/d") == ["a", "c"]


async def test_a_damaged_large_file_is_not_published_and_the_rest_is(shelf, restorer, tmp_path):
    big = await shelf.file(b"big", os.urandom(2 * PART))
    small = await shelf.file(b"small", b"x")
    shelf.damage(big.ref.key, at=PART + 7)
    with pytest.raises(RestoreDamaged, match="big"):
        await restorer().restore(await shelf.commit([a_folder(b"", big, small)]))
    assert names(tmp_path / "to") == ["small"]


@pytest.mark.parametrize("size", [600, PART + 600])
async def test_an_object_cut_short_costs_only_the_files_that_are_cut(shelf, restorer, tmp_path, size):
    entries = await shelf.files({b"a": b"alpha", b"b": os.urandom(size)})
    shelf.cut(entries[0].ref.key, 1000)
    with pytest.raises(RestoreDamaged, match="b"):
        await restorer().restore(await shelf.commit([a_folder(b"", *entries)]))
    assert names(tmp_path / "to") == ["a"]


async def test_a_lost_object_is_damage_and_large_parts_go_back_to_the_store(shelf, restorer, tmp_path):
    big = await shelf.file(b"big", os.urandom(3 * PART))
    others = [await shelf.file(b"%d" % n, os.urandom(PART + n)) for n in range(1, 6)]
    shelf.lose(big.ref.key)
    with pytest.raises(RestoreDamaged):
        await restorer(connections=2).restore(await shelf.commit([a_folder(b"", big, *others)]))
    assert len(names(tmp_path / "to")) == 5


async def test_a_damaged_segment_restores_nothing(shelf, restorer, tmp_path):
    commit = await shelf.commit([a_folder(b"", await shelf.file(b"a", b"x"))])
    shelf.damage(commit.head.segments[0].key, at=20)
    with pytest.raises(IntegrityMismatch, match="seg-"):
        await restorer().restore(commit)
    assert not (tmp_path / "to").exists()


async def test_p8_a_link_in_the_target_is_never_followed(shelf, restorer, tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (tmp_path / "to").mkdir()
    (tmp_path / "to/d").symlink_to(outside)
    entry = await shelf.file(b"f", b"x")
    lines = [a_folder(b"", entry), a_folder(b"d", entry), a_folder(b"d/e", entry), a_folder(b"z", entry)]
    restored = await restorer(overwrite=True).restore(await shelf.commit(lines))
    assert names(outside) == []
    assert outside.stat().st_mtime_ns != 5_000_000_007
    assert [problem.path for problem in restored.problems] == [b"d"]
    assert (tmp_path / "to/z/f").exists()


async def test_p8_a_link_of_the_checkpoint_is_not_followed_by_the_directory_of_that_name(shelf, restorer, tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    entry = await shelf.file(b"f", b"x")
    lines = [a_folder(b"", a_link(b"d", os.fsencode(outside))), a_folder(b"d", entry)]
    for _ in range(2):
        restored = await restorer(overwrite=True).restore(await shelf.commit(lines))
        assert names(outside) == []
    assert restored.problem_count >= 1


async def test_p8_a_file_is_not_written_through_a_link_of_its_name(shelf, restorer, tmp_path):
    outside = tmp_path / "outside"
    outside.write_text("not mine")
    entry = await shelf.file(b"f", b"x")
    (tmp_path / "to").mkdir()
    (tmp_path / "to/f").symlink_to(outside)
    restored = await restorer().restore(await shelf.commit([a_folder(b"", entry)]))
    assert outside.read_text() == "not mine"
    assert [problem.path for problem in restored.problems] == [b"f"]


@pytest.mark.parametrize("path", [b"../up", b"/abs", b"a/../../up"])
async def test_p8_a_path_that_leaves_the_target_is_refused(shelf, restorer, tmp_path, path):
    blob = planted_segment(dir=path.decode())
    with pytest.raises(FormatInvalid):
        await restorer().restore(await shelf.commit(blob))
    assert names(tmp_path) in ([], ["to"])


@pytest.mark.parametrize("name", ["../up", "..", "/abs", "a/b"])
async def test_p8_a_name_that_leaves_its_directory_is_refused(shelf, restorer, tmp_path, name):
    blob = planted_segment(names=[name], rows=[["f", 420, 0, 0, 0, 1, 2, 3]])
    with pytest.raises(FormatInvalid):
        await restorer().restore(await shelf.commit(blob))
    assert names(tmp_path) in ([], ["to"])


async def test_p8_a_key_outside_the_prefix_is_refused(shelf, restorer):
    row = ["f", 420, 0, 0, 1, 1, 2, 3, 0, 0, "0" * 16]
    blob = planted_segment(names=["a"], rows=[row], objects=[f"../other/{DATA}/p1.tar"])
    with pytest.raises(FormatInvalid):
        await restorer().restore(await shelf.commit(blob))


async def test_p8_a_size_that_no_object_has_takes_no_room(shelf, restorer, tmp_path):
    whole = await shelf.file(b"huge", b"x")
    ref = a_ref(1 << 40, key=whole.ref.key, crc64nvme=crc64nvme(b"x"))
    entry = a_file(b"huge", size=1 << 40, ref=ref)
    fine = await shelf.file(b"fine", b"x")
    with pytest.raises(RestoreDamaged, match="huge"):
        await restorer().restore(await shelf.commit([a_folder(b"", entry, fine)]))
    assert names(tmp_path / "to") == ["fine"]


@pytest.mark.parametrize("mtime_ns", [2**63 * 10**9 - 1, -(2**63) * 10**9 + 1])
async def test_p8_numbers_at_their_limits_stop_nothing(shelf, restorer, tmp_path, mtime_ns):
    highest = 2**32 - 2 if IS_ROOT else os.getuid()
    far = await shelf.file(b"far", b"x", mtime_ns=mtime_ns)
    far = replace(far, stat=replace(far.stat, uid=highest, gid=highest, mode=0o7777))
    long = a_file(b"n" * 4000)
    hole = a_file(b"hole", size=2**63 - 1, extents=())
    folder = a_folder(b"d" * 300)
    lines = [a_folder(b"", far, hole, long, a_link(b"link", b"t" * 4096)), folder, a_folder(b"z")]
    restored = await restorer().restore(await shelf.commit(lines))
    assert set(names(tmp_path / "to")) >= {"far", "z"}
    assert {problem.path[:3] for problem in restored.problems} >= {b"nnn", b"ddd"}


async def test_a_target_that_is_a_file_is_refused(shelf, restorer, tmp_path):
    (tmp_path / "to").write_text("")
    with pytest.raises(TargetUnusable):
        await restorer().restore(await shelf.commit([a_folder(b"")]))


async def test_p8_a_root_below_a_link_in_the_target_is_refused(shelf, restorer, tmp_path):
    (tmp_path / "outside").mkdir()
    (tmp_path / "to").mkdir()
    (tmp_path / "to/a").symlink_to(tmp_path / "outside")
    with pytest.raises(TargetUnusable):
        await restorer().restore(await shelf.commit([a_folder(b"")], roots=(b"/a/x", b"/b")))
    assert names(tmp_path / "outside") == []


class SlowStore:
    """A store whose GETs of packs wait to be let go."""

    def __init__(self, store):
        self._store = store
        self.asked, self.let_go = asyncio.Event(), asyncio.Event()

    def __getattr__(self, name):
        return getattr(self._store, name)

    async def fetch(self, key, take, **place):
        self.asked.set()
        await self.let_go.wait()
        await self._store.fetch(key, take, **place)


async def test_a_restore_that_is_cancelled_leaves_no_half_files_and_no_descriptors(shelf, executor, tmp_path):
    entries = [await shelf.file(b"%d" % n, os.urandom(2 * PART)) for n in range(3)]
    commit = await shelf.commit([a_folder(b"", *entries)])
    slow = SlowStore(shelf.store)
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - a count
    restorer = Restorer(slow, shelf.prefix, target=tmp_path / "to", executor=executor, owner=False)
    task = asyncio.create_task(restorer.restore(commit))
    await slow.asked.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert names(tmp_path / "to") == []
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208 - a count


async def test_a_disk_that_is_full_ends_the_restore_and_what_is_whole_stays(shelf, restorer, small_disk):
    entries = [await shelf.file(b"%d" % n, os.urandom(1 << 20)) for n in range(8)]
    with pytest.raises(NoRoom) as raised:
        await restorer(target=small_disk).restore(await shelf.commit([a_folder(b"", *entries)]))
    assert "again" in raised.value.hint
    assert 1 <= len(names(small_disk)) <= 4
    assert all((small_disk / name).stat().st_size == 1 << 20 for name in names(small_disk))


async def test_p8_a_link_source_that_was_swapped_is_not_linked_to(shelf, restorer, tmp_path):
    victim = tmp_path / "victim"
    victim.write_text("not theirs")
    first = await shelf.file(b"a", b"same", link="7")
    blocker = await shelf.file(b"z", os.urandom(PART + 1))

    def swap(_):
        if (tmp_path / "to/a").exists() and not (tmp_path / "to/b").exists():
            (tmp_path / "to/a").unlink()
            (tmp_path / "to/a").hardlink_to(victim)

    commit = await shelf.commit([a_folder(b"", first, replace(first, name=b"b"), blocker)])
    await restorer(report=swap).restore(commit)
    assert (tmp_path / "to/b").read_bytes() == b"same"
    assert not (tmp_path / "to/b").samefile(victim)
    assert (tmp_path / "to/a").samefile(victim)


async def test_files_on_their_way_are_for_their_owner_only(shelf, restorer, tmp_path):
    seen = set()

    def look(_):
        for name in names(tmp_path / "to"):
            if name.startswith(UNFINISHED.decode()):
                seen.add(stat.S_IMODE((tmp_path / "to" / name).stat().st_mode))

    big = await shelf.file(b"big", os.urandom(3 * PART), mode=0o666)
    await restorer(report=look).restore(await shelf.commit([a_folder(b"", big)]))
    assert seen == {0o600}


def planted_segment(**changed):
    line = {"root": 0, "dir": "", "names": [], "rows": [], "objects": []} | changed
    first = {"schema": 1, "format": "hpc-agent segment"}
    return gzip.compress(b"".join(json.dumps(each).encode() + b"\n" for each in (first, line)))
