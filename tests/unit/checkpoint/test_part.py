"""A pass over some directories of a node: it sends what is new of them, and refers to what was saved before."""

import tempfile
from pathlib import Path

import pytest

from agent.clock import SystemClock
from tests.fakes.saved import tree_of, tree_on_disk
from tests.fakes.saved_again import Node


@pytest.fixture
def node(executor):
    """On a file system whose times can be believed: /tmp may be a tmpfs, /var/tmp outlives a reboot (hier(7))."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as directory:
        yield Node(Path(directory), executor)


@pytest.fixture
async def lead(node):
    """A node whose whole scratch was saved ahead."""
    for folder in ("6", "7/deep", "70"):
        (node.root / folder).mkdir(parents=True)
        for name in ("one", "two"):
            (node.root / folder / name).write_bytes(f"{folder}/{name}".encode())
    return await node.save(pack_below=0)


def only(node):
    return {"only": [str(node.root / "7")], "pack_below": 0, "reason": "peer"}


def on_disk(node):
    top = bytes(node.root / "7")
    return {path: value for path, value in tree_on_disk(node.root).items() if (path + b"/").startswith(top + b"/")}


async def held(node, head):
    tree = await tree_of(node.store, head)
    return {path: value for path, value in tree.items() if path not in {bytes(node.root), b""}}


async def test_what_was_saved_ahead_is_not_sent_again_and_the_head_is_about_nothing_else(node, lead):
    before = await node.objects()
    head = await node.save(**only(node))
    assert await node.objects() == before
    assert await held(node, head) == on_disk(node)
    assert (head.complete, head.totals.files) == (True, 2)


async def test_what_is_new_or_changed_is_sent_and_what_is_gone_is_gone(node, lead):
    before = await node.objects()
    (node.root / "7/deep/one").write_bytes(b"changed")
    (node.root / "7/deep/two").unlink()
    (node.root / "7/new").write_bytes(b"new")
    (node.root / "6/new").write_bytes(b"of another job")
    head = await node.save(**only(node))
    assert len(await node.objects()) == len(before) + 2
    assert await held(node, head) == on_disk(node)


async def test_what_was_removed_and_is_there_again_is_sent(node, lead):
    (node.root / "7/deep/one").rename(node.root / "kept")
    (node.root / "7/deep/two").unlink()
    (node.root / "7/deep").rmdir()
    await node.save(pack_below=0)
    (node.root / "7/deep").mkdir()
    (node.root / "7/deep/two").write_bytes(b"other")
    head = await node.save(**only(node))
    assert await held(node, head) == on_disk(node)


async def test_files_that_were_not_at_rest_are_read_again(node):
    (node.root / "7").mkdir()
    (node.root / "7/one").write_bytes(b"by mmap")
    await node.save(pack_below=0, clock=SystemClock())
    before = await node.objects()
    head = await node.save(**only(node))
    assert len(await node.objects()) == len(before) + 1
    assert await held(node, head) == on_disk(node)


async def test_the_head_of_the_whole_node_stays_what_the_next_pass_builds_on(node, lead):
    kept = node.cache.last()
    await node.save(**only(node))
    assert node.cache.last() == kept
    before = await node.objects()
    head = await node.save(pack_below=0)
    assert await node.objects() == before
    assert await tree_of(node.store, head) == tree_on_disk(node.root)


async def test_a_directory_of_very_many_files_of_which_most_are_to_be_read_again_is_saved(node, monkeypatch):
    monkeypatch.setattr("agent.checkpoint.segment.RUN_ENTRIES", 2)
    monkeypatch.setattr("agent.scratch.walk.RUN", 2)
    (node.root / "7").mkdir()
    for name in "abcdef":
        (node.root / "7" / name).write_bytes(name.encode())
    await node.save(pack_below=0, clock=SystemClock())
    head = await node.save(**only(node))
    assert await held(node, head) == on_disk(node)
