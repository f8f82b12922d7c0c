"""What of a checkpoint is one job's, restored with no more rights than the job's user has (P8)."""

import os
import shutil
import stat
import tempfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from agent.checkpoint.own import Own, OwnPath, set_aside
from agent.checkpoint.place import Place
from agent.checkpoint.restore import Restorer
from agent.checkpoint.rights import Rights
from agent.checkpoint.units import PART
from agent.model.checkpoint import EntryType
from agent.scratch.unfinished import UNFINISHED
from agent.store.base import StoreUnavailable
from tests.fakes.checkpoints import a_directory, a_file, a_link, a_stat
from tests.fakes.cut_store import CutStore

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="to take a user's rights is for root")

ALICE = Rights(uid=4242, gid=4242, gids=frozenset({4242, 5000}))
MALLORY = 4343
HERS = {"uid": 4242, "gid": 4242}


@pytest.fixture
def disk():
    """A /scratch that every user may write to, and enter."""
    path = Path(tempfile.mkdtemp(prefix="own"))
    path.chmod(0o1777)
    yield path
    shutil.rmtree(path)


@pytest.fixture
def as_alice():
    with ThreadPoolExecutor(4, initializer=ALICE.take) as pool:
        yield pool


@pytest.fixture
def restore(shelf, disk, as_alice):
    """Restores layers for alice's job: what is below `path` of the scratch, else all that is hers."""

    async def run(*lines, path="42", shared=None, store=None):
        root = os.fsencode(disk)
        depth = len(disk.parts) - 1 if shared is None else shared
        paths = [OwnPath(path=root + b"/" + path.encode(), shared=depth)] if path else []
        commit = await shelf.commit(list(lines), roots=(root,))
        restorer = Restorer(store or shelf.store, shelf.prefix, target=disk, executor=as_alice, owner=True)
        return await restorer.restore(commit, own=Own(ALICE, [root], paths))

    return run


def a_folder(path, *entries, mode=0o755, xattrs=None, **owner):
    return a_directory(path, *entries, stat=a_stat(**{"mode": mode, **HERS, **owner}), xattrs=xattrs or {})


def owned(entry, **changes):
    return replace(entry, stat=replace(entry.stat, **{**HERS, **changes}))


def empty(name, **changes):
    return owned(a_file(name, size=0, ref=None), **changes)


async def test_a_thread_with_a_users_rights_makes_files_of_the_user_and_the_others_stay_root(disk, as_alice):
    as_alice.submit((disk / "hers").touch).result()
    (disk / "ours").touch()
    assert ((disk / "hers").stat().st_uid, (disk / "hers").stat().st_gid) == (4242, 4242)
    assert (disk / "ours").stat().st_uid == 0
    with pytest.raises(PermissionError):
        as_alice.submit(os.chown, disk / "hers", 0, 0).result()
    with pytest.raises(PermissionError):
        as_alice.submit((disk / "ours").write_text, "x").result()


async def test_a_jobs_directory_comes_back_with_its_files_and_attributes(shelf, disk, restore):
    file = owned(await shelf.file(b"state", b"17", mode=0o640), gid=5000)
    link = owned(a_link(b"latest", b"state"))
    other = a_folder(b"41", empty(b"of another job"))
    restored = await restore(
        a_folder(b"", uid=0, gid=0, mode=0o700), other, a_folder(b"42", link, file, mode=0o750), a_folder(b"42/d")
    )
    assert restored.problems == ()
    assert sorted(path.name for path in disk.iterdir()) == ["42"]
    assert (disk / "42/state").read_bytes() == b"17"
    found = (disk / "42/state").stat()
    assert (found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)) == (4242, 5000, 0o640)
    assert stat.S_IMODE((disk / "42").stat().st_mode) == 0o750
    assert stat.S_IMODE(disk.stat().st_mode) == 0o1777
    assert (disk / "42/latest").readlink() == Path("state")


async def test_p8_of_a_planted_checkpoint_nothing_comes_that_the_user_could_not_have_made(shelf, disk, restore):
    setuid_root = owned(await shelf.file(b"su", b"x", mode=0o6755), uid=0, gid=0)
    setuid_own = owned(await shelf.file(b"tool", b"x", mode=0o6755))
    of_mallory = owned(await shelf.file(b"secret", b"x"), uid=MALLORY)
    device = replace(empty(b"zero"), type=EntryType.CHARACTER)
    capable = replace(
        owned(await shelf.file(b"capable", b"x")),
        xattrs={"security.capability": b"\1\0\0\2\0\4\0\0\0\0\0\0\0\0\0\0\0\0\0\0", "trusted.x": b"1", "user.k": b"v"},
    )
    group = owned(await shelf.file(b"group", b"x", mode=0o660), gid=0)
    entries = sorted([setuid_root, setuid_own, of_mallory, device, capable, group], key=lambda entry: entry.name)
    await restore(a_folder(b"42", *entries, mode=0o2755))
    assert sorted(path.name for path in (disk / "42").iterdir()) == ["capable", "group", "tool"]
    assert stat.S_IMODE((disk / "42/tool").stat().st_mode) == 0o755
    assert stat.S_IMODE((disk / "42").stat().st_mode) == 0o755
    assert [name for name in os.listxattr(disk / "42/capable") if name != "security.selinux"] == ["user.k"]
    found = (disk / "42/group").stat()
    assert (found.st_gid, stat.S_IMODE(found.st_mode)) == (4242, 0o600)


async def test_p8_a_path_that_leads_out_of_the_job_is_not_followed(shelf, disk, restore, tmp_path):
    outside = disk / "outside"
    outside.mkdir()
    outside.chmod(0o777)
    (disk / "42").symlink_to(outside)
    restored = await restore(a_folder(b"42", owned(await shelf.file(b"state", b"17"))))
    assert restored.problem_count
    assert list(outside.iterdir()) == []


async def test_what_is_there_is_neither_replaced_nor_given_other_attributes(shelf, disk, restore):
    (disk / "42").mkdir(mode=0o711)
    (disk / "42/state").write_text("newer")
    for path in (disk / "42", disk / "42/state"):
        os.chown(path, 4242, 4242)
    restored = await restore(a_folder(b"42", owned(await shelf.file(b"state", b"17")), mode=0o755))
    assert restored.problem_count == 1
    assert (disk / "42/state").read_text() == "newer"
    assert stat.S_IMODE((disk / "42").stat().st_mode) == 0o711


async def test_p8_a_directory_that_somebody_else_put_in_the_jobs_place_gets_nothing(shelf, disk, restore):
    (disk / "42").mkdir()
    (disk / "42").chmod(0o777)
    os.chown(disk / "42", MALLORY, MALLORY)
    restored = await restore(a_folder(b"42", owned(await shelf.file(b"state", b"17"))))
    assert restored.problem_count == 1
    assert list((disk / "42").iterdir()) == []


async def test_where_only_root_makes_directories_the_jobs_own_are_made_for_it(shelf, disk, restore):
    disk.chmod(0o755)
    file = owned(await shelf.file(b"state", b"17"))
    restored = await restore(a_folder(b"alice", uid=0, gid=0), a_folder(b"alice/42", file), path="alice/42")
    assert restored.problems == ()
    for path in ("alice", "alice/42", "alice/42/state"):
        assert (disk / path).stat().st_uid == 4242


async def test_a_directory_that_belongs_to_all_jobs_is_not_made_for_one(shelf, disk, restore):
    file = owned(await shelf.file(b"state", b"17"))
    restored = await restore(a_folder(b"jobs/42", file), path="jobs/42", shared=len(disk.parts))
    assert restored.problem_count == 1
    assert list(disk.iterdir()) == []


async def test_p8_root_makes_nothing_where_others_could_swap_it(shelf, disk, restore):
    disk.chmod(0o775)
    restored = await restore(a_folder(b"42", owned(await shelf.file(b"state", b"17"))))
    assert restored.problem_count == 1
    assert list(disk.iterdir()) == []


async def test_without_paths_all_files_of_the_user_come_back_where_they_may_be(shelf, disk, restore):
    (disk / "shared").mkdir()
    (disk / "shared").chmod(0o1777)
    hers, theirs = owned(await shelf.file(b"hers", b"1")), owned(await shelf.file(b"theirs", b"2"), uid=MALLORY)
    restored = await restore(
        a_folder(b"", hers, uid=0),
        a_folder(b"gone", hers, uid=0),
        a_folder(b"own", hers),
        a_folder(b"shared", hers, theirs, uid=0),
        path="",
    )
    found = sorted(str(path.relative_to(disk)) for path in disk.rglob("*"))
    assert found == ["hers", "own", "own/hers", "shared", "shared/hers"]
    assert [problem.path for problem in restored.problems] == [b"gone"]


@pytest.mark.parametrize("mode", [0o1777, 0o755])
async def test_what_an_older_life_left_is_set_aside_and_nothing_is_deleted(disk, as_alice, mode):
    (disk / "42").mkdir()
    (disk / "42/state").write_text("old")
    os.chown(disk / "42", 4242, 4242)
    disk.chmod(mode)
    root = os.fsencode(disk)
    own = Own(ALICE, [root], [OwnPath(path=root + b"/42", shared=len(disk.parts) - 1)])

    def aside():
        with closing(own.target(disk)) as target:
            return [set_aside(target, own, place, "before-life1") for place in own.tops(target)]

    assert as_alice.submit(aside).result() == [b"42.hpc-agent-before-life1"]
    assert (disk / "42.hpc-agent-before-life1/state").read_text() == "old"
    assert as_alice.submit(aside).result() == [None]


async def test_an_empty_directory_and_one_of_somebody_else_stay_in_their_place(disk, as_alice):
    for name, uid in (("empty", 4242), ("theirs", MALLORY)):
        (disk / name).mkdir()
        os.chown(disk / name, uid, uid)
    (disk / "theirs/file").touch()
    root = os.fsencode(disk)
    own = Own(ALICE, [root], [])

    def aside():
        with closing(own.target(disk)) as target:
            return [set_aside(target, own, Place(root=0, path=name), "x") for name in (b"empty", b"theirs", b"none")]

    assert as_alice.submit(aside).result() == [None, None, None]


async def test_of_a_restore_for_a_job_that_is_cut_nothing_is_left_that_nobody_would_remove(shelf, restore, disk):
    big = owned(await shelf.file(b"big", os.urandom(3 * PART)))
    with pytest.raises(StoreUnavailable):
        await restore(a_folder(b"42", big), store=CutStore(shelf.store, 1 + 2))
    assert list((disk / "42").iterdir()) == []


async def test_p7_what_a_killed_restore_for_a_job_left_is_the_users_and_is_gone_on_with(shelf, restore, disk):
    big = owned(await shelf.file(b"big", data := os.urandom(3 * PART)))
    (disk / "42").mkdir()
    left = disk / "42" / os.fsdecode(UNFINISHED + b"0badcafe-1-%016x" % big.ref.crc64nvme)
    with left.open("wb") as file:
        file.truncate(3 * PART)
        file.write(data[: 2 * PART])
    left.chmod(0o600)
    os.chown(left, 4242, 4242)
    os.chown(disk / "42", 4242, 4242)
    store = CutStore(shelf.store, 100)
    await restore(a_folder(b"42", big), store=store)
    assert [offset - big.ref.offset for _, offset in store.fetched] == [2 * PART]
    assert [path.name for path in (disk / "42").iterdir()] == ["big"]
    assert (disk / "42/big").read_bytes() == data
