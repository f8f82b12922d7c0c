import os
from dataclasses import replace

import pytest

from agent.demo.manifest import Entry, TreeUnreadable, differences, read

FILE = Entry(kind="file", mode=0o644, owner=(4242, 4242), mtime_ns=1, size=3, content="digest", links=(), xattrs=())
TREE = {b"": replace(FILE, kind="directory"), b"a": FILE, b"not-utf8-\xff": FILE}


def told(before, after):
    return [(each.path, each.what) for each in differences(before, after)]


def test_the_same_trees_do_not_differ():
    assert told(TREE, dict(TREE)) == []


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("mode", 0o600),
        ("owner", (0, 4242)),
        ("mtime_ns", 2),
        ("content", "other"),
        ("links", (b"a", b"b")),
        ("xattrs", (("user.a", b"1"),)),
    ],
)
def test_each_field_makes_a_difference(field, value):
    assert told(TREE, TREE | {b"a": replace(FILE, **{field: value})}) == [(b"a", field)]


def test_all_fields_that_differ_are_named():
    assert told(TREE, TREE | {b"a": replace(FILE, size=4, content="other")}) == [(b"a", "size, content")]


def test_what_is_missing_and_what_is_new_are_differences():
    assert told(TREE, {b"": TREE[b""], b"a": FILE, b"b": FILE}) == [
        (b"b", "was not there"),
        (b"not-utf8-\xff", "missing"),
    ]


def test_what_no_checkpoint_stores_may_be_missing():
    assert told(TREE | {b"fifo": replace(FILE, kind="FIFO")}, TREE) == []


@pytest.fixture
def tree(tmp_path):
    root = tmp_path / "tree"
    (root / "empty").mkdir(parents=True)
    (root / "file").write_bytes(b"abc")
    (root / "same").hardlink_to(root / "file")
    (root / "link").symlink_to("./nowhere//at-all/")
    (root / os.fsdecode(b"\xff")).write_bytes(b"")
    os.mkfifo(root / "fifo")
    return root


def test_a_tree_is_read_as_it_is(tree):
    found = read(tree)
    assert {path: entry.kind for path, entry in found.items()} == {
        b"": "directory",
        b"empty": "directory",
        b"file": "file",
        b"same": "file",
        b"link": "link",
        b"fifo": "FIFO",
        b"\xff": "file",
    }
    assert found[b"file"].links == found[b"same"].links == (b"file", b"same")
    assert found[b"file"].size == 3
    assert bytes.fromhex(found[b"link"].content) == b"./nowhere//at-all/"


def test_one_byte_one_nanosecond_and_one_link_are_seen(tree):
    before = read(tree)
    for name in ("empty", "file"):
        os.utime(tree / name, ns=(0, before[name.encode()].mtime_ns + 1))
    (tree / os.fsdecode(b"\xff")).write_bytes(b"x")
    (tree / "link").unlink()
    (tree / "link").symlink_to("elsewhere")
    assert dict(told(before, read(tree))).keys() == {b"", b"empty", b"file", b"same", b"link", b"\xff"}


def test_a_tree_that_is_gone_is_an_error_of_ours(tmp_path):
    with pytest.raises(TreeUnreadable):
        read(tmp_path / "gone")
