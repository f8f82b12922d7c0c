"""There and back: what was saved is verified, restored elsewhere and compared with what was on the disk."""

import asyncio
import os
import random

import pytest

from agent.checkpoint.receipts import Receipts
from agent.checkpoint.restore import Restorer
from agent.checkpoint.verify import verify
from tests.fakes.flaky_store import FlakyStore
from tests.fakes.saved import PART, PREFIX, a_saver, tree_of, tree_on_disk


def a_name(chance):
    length = chance.choice([1, 3, 12, 100])
    name = bytes(chance.choice([*range(1, 47), *range(48, 256)]) for _ in range(length)).strip(b".") or b"x"
    return os.fsdecode(name)


def grow(root, chance, count):
    """Plant a random tree of everything that is saved; return its regular files."""
    folders, files = [root], []
    for _ in range(count):
        path = chance.choice(folders) / a_name(chance)
        if os.path.lexists(path):
            continue
        kind = chance.choice(["folder", "file", "file", "file", "large", "holes", "symlink", "hard", "empty"])
        if kind == "folder":
            path.mkdir()
            folders.append(path)
        elif kind == "symlink":
            path.symlink_to(a_name(chance))
        elif kind == "hard" and files:
            path.hardlink_to(chance.choice(files))
        else:
            fill(path, chance, kind)
        if kind not in {"folder", "symlink"}:
            files.append(path)
    decorate(files + folders[1:], chance)
    return files


def decorate(paths, chance):
    for path in paths:
        if chance.random() < 0.3:
            os.setxattr(path, "user.note", chance.randbytes(chance.randrange(20)))
        if chance.random() < 0.3:
            os.chown(path, chance.randrange(70_000), chance.randrange(70_000))
        if chance.random() < 0.3:
            path.chmod(chance.randrange(0o10000))
        os.utime(path, ns=(0, chance.randrange(2**61)))


def fill(path, chance, kind):
    size = {"file": chance.randrange(5000), "large": chance.randrange(6 * PART), "empty": 0}.get(kind, 0)
    with path.open("wb") as file:
        file.write(chance.randbytes(size))
        if kind == "holes":
            file.truncate(chance.randrange(40 * PART))
            for _ in range(chance.randrange(4)):
                os.pwrite(file.fileno(), chance.randbytes(chance.randrange(9000)), chance.randrange(39 * PART))


def change(files, chance):
    """Remove some, put directories or other files in the place of some; return what is still a file."""
    for path in chance.sample(files, len(files) // 3):
        path.unlink(missing_ok=True)
        match chance.choice(["gone", "folder", "file"]):
            case "folder":
                path.mkdir()
                fill(path / "x", chance, "file")
            case "file":
                fill(path, chance, "large")
    return [path for path in files if path.is_file()]


def linked(root):
    """Which names are one file."""
    names = {}
    for above, folders, files in os.walk(root):
        for name in folders + files:
            path = os.path.join(above, name)  # noqa: PTH118 - os.walk gives text
            names.setdefault(os.lstat(path).st_ino, set()).add(path.removeprefix(str(root)))
    return sorted(map(sorted, names.values()))


def below(root):
    """What is on the disk, by path relative to the root."""
    return {path.removeprefix(os.fsencode(root)): value for path, value in tree_on_disk(root).items()}


async def round_trip(store, commit, target, executor):
    assert not (await verify(store, PREFIX, commit, executor=executor)).problems
    await Restorer(store, PREFIX, target=target, executor=executor, owner=True).restore(commit)
    return below(target)


@pytest.mark.parametrize("seed", range(12))
async def test_p2_a_restored_tree_is_the_tree_that_was_saved(root, tmp_path, store, executor, seed):
    grow(root, random.Random(seed), 60)
    saver = a_saver(store, root, executor)
    await saver.copy()
    commit = await saver.commit()
    assert commit.head.complete
    assert await round_trip(store, commit, tmp_path / "back", executor) == below(root)
    assert linked(tmp_path / "back") == linked(root)


async def test_p2_symbolic_links_keep_their_other_names_and_their_attributes(root, tmp_path, store, executor):
    (root / "d").mkdir()
    (root / "link").symlink_to("d")
    os.link(root / "link", root / "d" / "again", follow_symlinks=False)
    os.link(root / "link", root / "d" / "more", follow_symlinks=False)
    (root / "alone").symlink_to("d")
    for name in ("trusted.note", "security.note"):
        os.setxattr(root / "link", name, b"\0on the link", follow_symlinks=False)
    saver = a_saver(store, root, executor)
    await saver.copy()
    commit = await saver.commit()
    assert await tree_of(store, commit.head) == tree_on_disk(root)
    assert await round_trip(store, commit, tmp_path / "back", executor) == below(root)
    assert linked(tmp_path / "back") == linked(root)


@pytest.mark.parametrize("seed", range(12))
async def test_p2_p3_cut_at_random_what_was_committed_is_restored(root, tmp_path, store, executor, seed):
    chance = random.Random(seed)
    grow(root, chance, 60)
    cut_at = chance.randrange(1, 60)

    class Cutting(FlakyStore):
        async def _call(self, name, key, call):
            if len(self.calls) == cut_at:
                copying.cancel()
            await asyncio.sleep(0)
            return await super()._call(name, key, call)

    saver = a_saver(Cutting(store), root, executor)
    copying = asyncio.create_task(saver.copy())
    await asyncio.wait([copying])
    commit = await saver.commit()
    assert (await round_trip(store, commit, tmp_path / "back", executor)).items() <= below(root).items()


@pytest.mark.parametrize("seed", range(12))
async def test_p2_p7_pass_after_pass_over_a_tree_that_changes_between(root, tmp_path, store, executor, seed):
    chance = random.Random(seed)
    files = grow(root, chance, 50)
    for turn in range(3):
        saver = a_saver(store, root, executor, receipts=Receipts.load(tmp_path / "receipts"))
        await saver.copy()
        commit = await saver.commit()
        assert commit.head.complete
        assert await round_trip(store, commit, tmp_path / f"back{turn}", executor) == below(root)
        files = change(files, chance)
