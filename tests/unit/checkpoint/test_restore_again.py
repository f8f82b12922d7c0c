"""A restore that was cut is run again: what is there is not fetched again, what is of no use is removed."""

import asyncio
import os
import socket
from dataclasses import replace

import pytest

from agent.checkpoint import newfile
from agent.checkpoint.leftover import Working
from agent.checkpoint.restore import Restorer
from agent.checkpoint.units import PART
from agent.scratch.unfinished import UNFINISHED
from agent.store.base import StoreUnavailable
from tests.fakes.checkpoints import a_directory, a_stat
from tests.fakes.cut_store import CutStore
from tests.fakes.shelf import names, ours

PREFIX = UNFINISHED.decode()


@pytest.fixture
def to(tmp_path):
    return tmp_path / "to"


@pytest.fixture
def run(shelf, executor, to):
    """Restore what is committed from a store that breaks down after so many GETs; return the result and the store."""

    async def restore(commit, gets=1000, **options):
        store = CutStore(shelf.store, gets)
        options = {"owner": os.geteuid() == 0, "connections": 1, "keep": True} | options
        restorer = Restorer(store, shelf.prefix, target=to, executor=executor, **options)
        if gets < 1000:
            with pytest.raises(StoreUnavailable):
                await restorer.restore(commit)
            return None, store
        return await restorer.restore(commit), store

    return restore


@pytest.fixture
def committed(shelf):
    """Commit files in one directory; return the commit and their entries."""

    async def commit(contents, **changed):
        entries = [await shelf.file(name, data, mtime_ns=5, **changed) for name, data in contents.items()]
        folder = a_directory(b"", *sorted(entries, key=lambda entry: entry.name), stat=a_stat(mode=0o755, **ours()))
        return await shelf.commit([folder]), entries

    return commit


def leftovers(to):
    return [to / name for name in names(to) if name.startswith(PREFIX)]


def whole(to):
    return {os.fsencode(name): (to / name).read_bytes() for name in names(to) if not name.startswith(PREFIX)}


@pytest.mark.parametrize("gets", range(8))
async def test_p3_a_restore_cut_anywhere_has_whole_files_under_their_names_and_can_be_run_again(
    committed, run, to, gets
):
    contents = {b"big": os.urandom(PART * 2), **{b"s%d" % n: os.urandom(PART // 2) for n in range(4)}}
    commit, _ = await committed(contents)
    _, first = await run(commit, gets, connections=2) if gets < 7 else await run(commit)
    left = whole(to) if gets else {}
    assert all(contents[name] == data for name, data in left.items())
    restored, second = await run(commit)
    assert restored.files + restored.skipped_existing == 5
    assert whole(to) == contents
    assert not leftovers(to)
    assert len(first.fetched + second.fetched) == len(set(first.fetched + second.fetched))


async def test_p7_of_a_large_file_only_what_is_missing_is_fetched_when_it_is_run_again(committed, run, to):
    commit, [entry] = await committed({b"big": (data := os.urandom(5 * PART + 7))})
    _, first = await run(commit, 1 + 3)  # the segment, and three parts
    [left] = leftovers(to)
    assert (left.stat().st_size, left.stat().st_mode & 0o777) == (len(data), 0o600)
    restored, second = await run(commit)
    assert (restored.files, restored.bytes, restored.problems) == (1, len(data), ())
    assert whole(to) == {b"big": data}
    assert not leftovers(to)
    assert [offset - entry.ref.offset for _, offset in first.fetched] == [0, PART, 2 * PART]
    assert [offset - entry.ref.offset for _, offset in second.fetched] == [3 * PART, 4 * PART, 5 * PART]


async def test_p7_a_large_file_with_holes_is_gone_on_with_too(shelf, committed, run, to):
    stored = os.urandom(3 * PART)
    commit, [entry] = await committed({b"big": stored})
    extents = ((0, PART + 4096), (4 * PART, 2 * PART - 4096))
    sparse = replace(entry, extents=extents, stat=replace(entry.stat, size=8 * PART))
    commit = await shelf.commit([a_directory(b"", sparse, stat=a_stat(mode=0o755, **ours()))])
    await run(commit, 1 + 2)
    _, second = await run(commit)
    assert [offset - entry.ref.offset for _, offset in second.fetched] == [2 * PART]
    data = whole(to)[b"big"]
    assert data[: PART + 4096] + data[4 * PART : 6 * PART - 4096] == stored
    assert (to / "big").stat().st_blocks * 512 < 4 * PART


async def test_p2_a_large_file_that_was_written_to_after_the_cut_is_fetched_anew(committed, run, to):
    commit, _ = await committed({b"big": (data := os.urandom(3 * PART))})
    await run(commit, 1 + 2)
    with leftovers(to)[0].open("r+b") as file:
        file.write(b"not what was restored")
    restored, second = await run(commit)
    assert (restored.files, restored.problems) == (1, ())
    assert whole(to) == {b"big": data}
    assert len(second.fetched) == 1 + 3


async def test_a_large_file_that_can_no_longer_be_read_is_fetched_anew(committed, run, to, monkeypatch):
    commit, _ = await committed({b"big": (data := os.urandom(3 * PART))})
    await run(commit, 1 + 2)

    def fail(_, __):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(newfile, "crc", fail)
    restored, _ = await run(commit)
    assert (restored.files, restored.problems) == (1, ())
    assert whole(to) == {b"big": data}


async def test_nothing_is_left_that_nobody_goes_on_with(committed, run, to):
    commit, _ = await committed({b"big": os.urandom(3 * PART)})
    await run(commit, 1 + 2, keep=False)
    assert names(to) == []


async def test_what_another_checkpoint_has_no_use_for_is_removed(committed, run, to):
    before, _ = await committed({b"big": os.urandom(3 * PART)})
    after, _ = await committed({b"big": (data := os.urandom(3 * PART))})
    await run(before, 1 + 2)
    assert leftovers(to)
    _, second = await run(after)
    assert len(second.fetched) == 3
    assert whole(to) == {b"big": data}
    assert not leftovers(to)


async def test_of_two_that_were_cut_one_is_gone_on_with_and_none_is_left(committed, run, to):
    commit, _ = await committed({b"big": (data := os.urandom(3 * PART))})
    await run(commit, 1 + 2)
    [first] = leftovers(to)
    (to / (PREFIX + "0badcafe-1-" + first.name.rpartition("-")[2])).write_bytes(first.read_bytes())
    await run(commit)
    assert whole(to) == {b"big": data}
    assert not leftovers(to)


async def test_leftovers_of_a_cut_run_are_removed(committed, run, to):
    to.mkdir()
    (to / f"{PREFIX}0badcafe-1").write_text("half")
    (to / f"{PREFIX}0badcafe-2").symlink_to("nowhere")
    (to / f"{PREFIX}0badcafe-3").mkdir()
    (to / f"{PREFIX}mine").write_text("a file of the user")
    commit, _ = await committed({b"a": b"1", f"{PREFIX}mine-too".encode(): b"2"})
    await run(commit)
    assert names(to) == [f"{PREFIX}0badcafe-3", f"{PREFIX}mine", f"{PREFIX}mine-too", "a"]


async def test_what_a_run_that_is_alive_works_at_is_left_alone_until_it_ends(committed, run, to):
    to.mkdir()
    alive = Working("0badcafe")
    commit, [entry] = await committed({b"big": os.urandom(3 * PART)})
    mine = [to / os.fsdecode(name) for name in (alive.name(), alive.name_of(entry))]
    for path in mine:
        path.write_bytes(b"half")
    await run(commit)
    assert all(path.exists() for path in mine)
    alive.close()
    await run(commit)
    assert not leftovers(to)


async def test_two_restores_at_once_into_one_directory_do_not_disturb_each_other(committed, run, to):
    commit, _ = await committed({b"big": (data := os.urandom(3 * PART))})
    other, _ = await committed({b"other": (more := os.urandom(3 * PART))})
    await run(commit, 1 + 2)
    async with asyncio.TaskGroup() as both:
        results = [both.create_task(run(each), name="restore") for each in (commit, other)]
    assert [task.result()[0].problems for task in results] == [(), ()]
    assert whole(to) == {b"big": data, b"other": more}
    assert not leftovers(to)


class BindingRefused(socket.socket):
    def bind(self, _):
        raise PermissionError


async def test_where_no_run_can_be_seen_everything_is_left_alone(committed, run, to, monkeypatch):
    to.mkdir()
    (to / f"{PREFIX}0badcafe-1").write_text("half")
    commit, _ = await committed({b"a": b"1"})

    monkeypatch.setattr(socket, "socket", BindingRefused)
    restored, _ = await run(commit)
    assert (restored.files, restored.problems) == (1, ())
    assert names(to) == [f"{PREFIX}0badcafe-1", "a"]


@pytest.mark.parametrize("planted", ["link", "another name", "readable", "other size", "folder", "fifo"])
async def test_p8_nothing_that_was_planted_is_written_to(committed, run, to, tmp_path, planted):
    to.mkdir()
    commit, [entry] = await committed({b"big": (data := os.urandom(3 * PART))})
    name = to / os.fsdecode(UNFINISHED + b"0badcafe-1-%016x" % entry.ref.crc64nvme)
    victim = tmp_path / "victim"
    victim.write_bytes(b"v" * (3 * PART))
    victim.chmod(0o600)
    match planted:
        case "link":
            name.symlink_to(victim)
        case "another name":
            name.hardlink_to(victim)
        case "readable":
            name.write_bytes(b"v" * (3 * PART))
            name.chmod(0o644)
        case "other size":
            name.write_bytes(b"v")
            name.chmod(0o600)
        case "folder":
            name.mkdir()
        case "fifo":
            os.mkfifo(name)
    _, store = await run(commit)
    assert len(store.fetched) == 3
    assert victim.read_bytes() == b"v" * (3 * PART)
    assert victim.stat().st_nlink == 1
    assert whole(to)[b"big"] == data


async def test_p8_what_another_user_made_is_not_written_to(committed, run, to):
    if os.geteuid() != 0:
        pytest.skip("giving files away is for root")
    to.mkdir()
    commit, [entry] = await committed({b"big": (data := os.urandom(3 * PART))})
    name = to / os.fsdecode(UNFINISHED + b"0badcafe-1-%016x" % entry.ref.crc64nvme)
    name.write_bytes(data)
    name.chmod(0o600)
    os.chown(name, 1, 1)
    _, store = await run(commit)
    assert len(store.fetched) == 3
    assert whole(to) == {b"big": data}
    assert not leftovers(to)
