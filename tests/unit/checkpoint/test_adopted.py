"""A restored tree is not unsaved: the next pass names the old node's objects, and sends nothing."""

import gzip
import json
import math
import os
import tempfile
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path

import pytest

from agent.checkpoint.choice import Choice
from agent.checkpoint.restore import Restorer
from agent.checkpoint.written import Written
from tests.fakes.saved import NODE, PREFIX, directories, tree_of, tree_on_disk
from tests.fakes.saved_again import Node, plant

OTHER = replace(NODE, name="n2", instance_id="i-2", writer="AROA1:i-2")
FILES = 24


@pytest.fixture
def disk():
    # A disk: /tmp may be a tmpfs, whose times tell of no write through mmap; /var/tmp outlives a reboot (hier(7)).
    with tempfile.TemporaryDirectory(dir="/var/tmp") as directory:
        yield Path(directory)


@pytest.fixture
def old(disk, executor):
    (disk / "old").mkdir()
    node = Node(disk / "old", executor)
    plant(node.root)
    (node.root / "nothing in it").touch()
    os.setxattr(node.root / "c" / "file", "user.a", b"1")
    return node


@pytest.fixture
def new(disk, old, executor):
    (disk / "new").mkdir()
    node = Node(disk / "new", executor)
    node.store = old.store
    return node


@pytest.fixture
def restore(executor):
    async def into(on, commit, *, name="20261123T120000.000Z-00000001", **options):
        written = Written()
        fields = {"owner": os.geteuid() == 0, "connections": 4, "written": written} | options
        await Restorer(on.store, PREFIX, target=on.root, executor=executor, **fields).restore(commit)
        root = os.fsencode(on.root)
        assert on.cache.adoption.keep(name, [root], written.rows([root], until=math.inf))

    return into


async def commit_of(on, **options):
    saver = on.saver(**options)
    await saver.copy()
    return await saver.commit()


def adopted(node):
    return [path for path in node.cache._directory.iterdir() if path.name.startswith("adopted-")]


def relative(tree, root):
    return {path.removeprefix(os.fsencode(root)): told for path, told in tree.items()}


async def test_after_a_restore_nothing_is_unsaved_and_nothing_is_sent(old, new, restore, disk, executor):
    commit = await commit_of(old)
    objects = await old.objects()
    await restore(new, commit)
    looked = await new.scan()
    assert (looked.files, looked.unsure_files, looked.total_files) == (0, 0, FILES)
    saved = await commit_of(new, node=OTHER)
    assert await old.objects() == objects
    assert saved.head.complete
    assert saved.head.writer == OTHER.writer
    assert saved.head.totals == commit.head.totals
    assert await tree_of(new.store, saved.head) == tree_on_disk(new.root)
    back = disk / "back"
    await Restorer(new.store, PREFIX, target=back, executor=executor, owner=os.geteuid() == 0).restore(saved)
    assert relative(tree_on_disk(back), back) == relative(tree_on_disk(old.root), old.root)


async def test_once_a_complete_head_holds_them_the_rows_of_a_restore_are_forgotten(old, new, restore):
    await restore(new, await commit_of(old))
    assert adopted(new)
    head = await new.save(node=OTHER)
    assert not adopted(new)
    assert (await new.save(node=OTHER)).segments == head.segments
    assert (await new.scan()).files == 0


async def test_a_pass_that_leaves_something_keeps_them(old, new, restore):
    await restore(new, await commit_of(old))
    (new.root / "new link").symlink_to("x")
    (new.root / "a" / "fresh").write_bytes(b"fresh")
    head = await new.save(node=OTHER, choice=Choice(changed_before=datetime.now(UTC) - timedelta(minutes=1)))
    assert (head.complete, head.left.files) == (False, 1)
    assert adopted(new)


async def test_what_changed_since_the_restore_is_sent_and_only_that(old, new, restore):
    commit = await commit_of(old)
    objects = set(await old.objects())
    await restore(new, commit)
    (new.root / "a" / "03").write_bytes(b"changed")
    times = (new.root / "a" / "04").stat()
    (new.root / "a" / "04").write_bytes(b"X")
    os.utime(new.root / "a" / "04", ns=(times.st_atime_ns, times.st_mtime_ns))
    (new.root / "a" / "05").rename(new.root / "a" / "moved")
    (new.root / "a" / "06").unlink()
    assert (await new.scan()).files == 3
    head = await new.save(node=OTHER)
    assert len(set(await old.objects()) - objects) == 3
    assert await tree_of(new.store, head) == tree_on_disk(new.root)


async def test_a_restore_claims_nothing_that_was_there_before(old, new, restore):
    commit = await commit_of(old)
    (new.root / "a").mkdir()
    (new.root / "a" / "07").write_bytes(b"7")
    mtime = (old.root / "a" / "07").stat().st_mtime_ns
    os.utime(new.root / "a" / "07", ns=(mtime, mtime))
    await restore(new, commit)
    assert (await new.scan()).files == 1
    assert await tree_of(new.store, await new.save(node=OTHER)) == tree_on_disk(new.root)


async def test_files_that_were_torn_are_read_again(old, new, restore, executor):
    commit = await commit_of(old)
    lines = await directories(old.store, commit.head)
    await restore(new, commit)
    assert (await new.scan()).files == 0
    torn = [replace(line, entries=tuple(replace(each, torn=True) for each in line.entries)) for line in lines]
    written = Written(lines=lambda: iter(torn))
    for path in new.root.rglob("*"):
        written.file(path.lstat())
    assert not any(line.entries for line in written.rows([os.fsencode(new.root)], until=math.inf))


async def test_two_restores_and_a_base_are_taken_together(old, new, restore):
    commit = await commit_of(old)
    (new.root / "own").write_bytes(b"own")
    first = await new.save(node=OTHER)
    await restore(new, commit)
    (old.root / "a" / "03").write_bytes(b"later")
    (old.root / "later").write_bytes(b"later")
    again = await commit_of(old)
    objects = await old.objects()
    await restore(new, again, name="20261123T130000.000Z-00000002", overwrite=True)
    assert (await new.scan()).files == 0
    head = await new.save(node=OTHER)
    assert await old.objects() == objects
    assert head.segments[: len(first.segments)] == first.segments
    assert await tree_of(new.store, head) == tree_on_disk(new.root)
    assert (new.root / "a" / "03").read_bytes() == b"later"


async def test_what_is_too_old_to_be_referred_to_is_sent_again(old, new, restore):
    await restore(new, await commit_of(old, clock=Past()))
    objects = set(await old.objects())
    head = await new.save(node=OTHER, refresh_after=timedelta(days=7))
    found = await directories(new.store, head)
    assert not objects & {entry.ref.key for line in found for entry in line.entries if entry.ref}
    assert await tree_of(new.store, head) == tree_on_disk(new.root)


class Past:
    def now(self):
        return datetime.now(UTC) - timedelta(days=8)


def garbage(path):
    path.write_bytes(b"garbage")


def cut(path):
    path.write_bytes(path.read_bytes()[:-20])


def of_another_bucket(path):
    first, _, body = path.read_bytes().partition(b"\n")
    path.write_bytes(json.dumps(json.loads(first) | {"place": "s3://other/hpc"}).encode() + b"\n" + body)


def no_segment(path):
    first, _, _ = path.read_bytes().partition(b"\n")
    body = gzip.compress(b'{"schema":1,"format":"hpc-agent segment"}\n{"dir":"../.."}\n')
    path.write_bytes(json.dumps(json.loads(first) | {"sha256": sha256(body).hexdigest()}).encode() + b"\n" + body)


def everybodys(path):
    path.chmod(0o666)


def a_link(path):
    path.rename(path.parent / "elsewhere")
    path.symlink_to(path.parent / "elsewhere")


def a_pipe(path):
    path.unlink()
    os.mkfifo(path, 0o600)


@pytest.mark.parametrize("plant_it", [garbage, cut, of_another_bucket, no_segment, everybodys, a_link, a_pipe])
async def test_p8_planted_or_damaged_rows_are_not_believed(old, new, restore, plant_it):
    await restore(new, await commit_of(old))
    (path,) = adopted(new)
    plant_it(path)
    assert (await new.scan()).files == FILES
    assert await tree_of(new.store, await new.save(node=OTHER)) == tree_on_disk(new.root)


async def test_rows_of_other_roots_are_not_believed(old, new, restore, executor):
    await restore(new, await commit_of(old))
    assert not new.cache.adoption.read((b"/elsewhere",)).bodies
    assert new.cache.adoption.read((os.fsencode(new.root),)).bodies


async def test_where_nothing_can_be_kept_a_restore_is_only_sent_again(new, disk):
    blocked = Node.__new__(Node)
    (disk / "file").touch()
    blocked._state = disk / "file" / "base"
    assert not blocked.cache.adoption.keep("name", [b"/scratch"], iter(()))
    assert blocked.cache.adoption.read((b"/scratch",)).names == ()
