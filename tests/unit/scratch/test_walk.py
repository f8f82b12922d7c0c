import os
import socket
import threading
from pathlib import Path

import pytest

from agent.model.checkpoint import EntryType
from agent.scratch import walk as walking
from agent.scratch.tree import OPEN_FOLDERS, RootMissing, Tree
from agent.scratch.walk import Walk


def walked(tree, **options):
    problems = []
    directories = list(Walk(tree, report=problems.append, **options))
    return directories, problems


def names(directories):
    return {d.path: d.names for d in directories}


def open_descriptors():
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def test_directories_come_in_the_order_of_a_segment(root, tree):
    for path in ("a/x", "a-b", "a/y/z", "A", "b", "é"):
        (root / path).mkdir(parents=True, exist_ok=True)
    (root / os.fsdecode(b"\xff")).mkdir()
    directories, problems = walked(tree)
    assert [d.path for d in directories] == [
        b"",
        b"A",
        b"a",
        b"a/x",
        b"a/y",
        b"a/y/z",
        b"a-b",
        b"b",
        "é".encode(),
        b"\xff",
    ]
    assert [d.order for d in directories] == sorted(d.order for d in directories)
    assert not problems


def test_entries_carry_type_stat_target_and_link(root, tree):
    (root / "file").write_bytes(b"123")
    os.utime(root / "file", ns=(1, 1_700_000_000_123_456_789))
    os.chown(root / "file", 1234, 5678)
    (root / "file").chmod(0o4751)
    os.link(root / "file", root / "other")
    (root / "link").symlink_to(b"\xfe/nowhere".decode("utf-8", "surrogateescape"))
    os.mkfifo(root / "pipe")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(root / "socket"))
    os.mknod(root / "null", 0o600 | 0o020000, os.makedev(1, 3))
    (directory,), problems = walked(tree)
    found = {e.name: e for e in directory.entries(tree)}
    file = found[b"file"]
    assert (file.stat.mode, file.stat.uid, file.stat.gid, file.stat.size) == (0o4751, 1234, 5678, 3)
    assert file.stat.mtime_ns == 1_700_000_000_123_456_789
    assert file.link == found[b"other"].link == f"{root.stat().st_dev}:{file.stat.inode}"
    assert found[b"link"].target == b"\xfe/nowhere"
    assert {n: e.type for n, e in found.items() if e.type.is_skipped} == {
        b"pipe": EntryType.FIFO,
        b"socket": EntryType.SOCKET,
        b"null": EntryType.CHARACTER,
    }
    assert directory.stat is not None
    assert not problems


def test_a_directory_with_very_many_entries_comes_in_runs(root, tree, monkeypatch):
    for number in range(7):
        (root / f"{number}").touch()
    monkeypatch.setattr(walking, "RUN", 3)  # a constant: the format's run is 10,000 entries
    directories, _ = walked(tree)
    assert [(d.run, len(d.names), d.stat is not None) for d in directories] == [
        (0, 3, True),
        (1, 3, False),
        (2, 1, False),
    ]


def test_attributes_and_acls_of_directories_are_read(root, tree):
    (root / "d").mkdir()
    os.setxattr(root / "d", "user.colour", b"\x00red")
    directories, _ = walked(tree)
    assert dict(directories[1].xattrs) == {"user.colour": b"\x00red"}


@pytest.mark.parametrize(
    ("pattern", "left"),
    [
        ("*.tmp", {b"": [b"keep"], b"d": [b"x"], b"d/e": [b"x"]}),
        ("d", {b"": [b"a.tmp", b"keep"]}),
        ("/d/e/", {b"": [b"a.tmp", b"keep"], b"d": [b"b.tmp", b"x"]}),
        ("*/x", {b"": [b"a.tmp", b"keep"], b"d": [b"b.tmp"], b"d/e": []}),
    ],
)
def test_what_a_pattern_names_is_left_out(root, tree, pattern, left):
    (root / "d/e").mkdir(parents=True)
    for name in ("a.tmp", "keep", "d/b.tmp", "d/x", "d/e/x"):
        (root / name).touch()
    directories, _ = walked(tree, exclude=[pattern])
    assert names(directories) == left


@pytest.mark.parametrize(
    ("only", "kept"),
    [
        ([b"d/e"], {b"": [], b"d": [], b"d/e": [b"x"]}),
        ([b"7", b"d/7"], {b"": [], b"7": [b"x"], b"d": []}),
        ([b"keep"], {b"": [b"keep"]}),
        ([b"nothing"], {b"": []}),
        ([], {b"": []}),
    ],
)
def test_only_what_is_asked_for_is_found_and_the_way_there(root, tree, only, kept):
    for folder in ("7", "70", "d/e", "d/eleven"):
        (root / folder).mkdir(parents=True)
    for name in ("keep", "7/x", "70/x", "d/x", "d/e/x", "d/eleven/x"):
        (root / name).touch()
    assert names(walked(tree, only=only)[0]) == kept


def test_what_a_restore_is_still_at_is_left_out_and_nothing_of_a_like_name(root, tree):
    at_work = [".hpc-agent-restore-0badcafe-12", ".hpc-agent-restore-0badcafe-1-00000000000000ff"]
    others = [".hpc-agent-restor", ".hpc-agent-restore-", ".hpc-agent-restore-mine", ".hpc-agent-restore.", "z"]
    for name in at_work + others:
        (root / name).touch()
    (root / ".hpc-agent-restore-dir").mkdir()
    directories, problems = walked(tree)
    assert [os.fsdecode(name) for name in directories[0].names] == sorted(others)
    assert [directory.path for directory in directories[1:]] == [b".hpc-agent-restore-dir"]
    assert problems == []


def test_a_very_deep_tree_is_walked_with_few_descriptors(root, tree):
    depth = OPEN_FOLDERS * 5
    fd = os.open(root, os.O_DIRECTORY)
    for _ in range(depth):
        os.mkdir("a" * 30, dir_fd=fd)
        os.mkdir("b", dir_fd=fd)
        below = os.open("a" * 30, os.O_DIRECTORY, dir_fd=fd)
        os.close(fd)
        fd = below
    os.close(fd)
    before = open_descriptors()
    most = count = 0
    for _ in Walk(tree, report=pytest.fail):
        count += 1
        most = max(most, open_descriptors() - before)
    assert count == 1 + 2 * depth
    assert most <= OPEN_FOLDERS + 2
    tree.close()
    assert open_descriptors() <= before - 1


def test_a_path_too_long_to_be_sane_is_a_problem(root, tree, monkeypatch):
    (root / "long" / "er").mkdir(parents=True)
    monkeypatch.setattr(walking, "LONGEST_PATH", 5)  # a constant: 64 KiB take long to build
    directories, problems = walked(tree)
    assert [(d.path, d.is_closed) for d in directories] == [(b"", False), (b"long", False), (b"long/er", True)]
    assert [p.detail for p in problems] == ["File name too long"]


def test_what_vanishes_under_the_walk_is_dropped(root, tree):
    for name in ("a", "b", "c"):
        (root / name).mkdir()
    walk = iter(Walk(tree, report=pytest.fail))
    assert next(walk).path == b""
    (root / "b").rmdir()
    assert [d.path for d in walk] == [b"a", b"c"]


def test_p8_a_directory_swapped_for_a_link_is_not_entered(root, tree, tmp_path):
    secret = tmp_path / "secret"
    (secret / "inner").mkdir(parents=True)
    (root / "a" / "inner").mkdir(parents=True)
    walk = iter(Walk(tree, report=pytest.fail))
    next(walk)
    (root / "a").rename(tmp_path / "moved")
    (root / "a").symlink_to(secret)
    assert list(walk) == []


def test_p8_another_file_system_below_is_left_out():
    # /dev holds other file systems (shm, pts) on every Linux.
    tree = Tree(Path("/dev"))
    paths = {d.path for d in Walk(tree, report=lambda _: None)}
    mounted = {os.fsencode(n) for n in ("shm", "pts", "mqueue") if os.path.ismount(f"/dev/{n}")}
    assert mounted
    assert not paths & mounted
    tree.close()


def test_a_directory_that_may_not_be_read_is_a_problem_and_the_walk_goes_on(root):
    for name in ("a", "b", "c"):
        (root / name).mkdir()
    (root / "b").chmod(0)
    root.chmod(0o755)
    for above in root.parents:
        if not above.stat().st_mode & 0o001:
            above.chmod(above.stat().st_mode | 0o011)
    seen = []

    def as_nobody():
        os.setegid(65534)
        os.seteuid(65534)
        try:
            seen.append(walked(Tree(root)))
        finally:
            os.seteuid(0)
            os.setegid(0)

    if os.geteuid():
        seen.append(walked(Tree(root)))
    else:
        as_nobody()
    directories, problems = seen[0]
    assert [(d.path, d.is_closed) for d in directories] == [(b"", False), (b"a", False), (b"b", True), (b"c", False)]
    assert [(p.path, p.detail) for p in problems] == [(os.fsencode(root / "b"), "Permission denied")]


def test_a_root_that_is_not_there_is_said(root):
    with pytest.raises(RootMissing, match="No such file"):
        Tree(root / "nothing")


def test_p8_names_swapped_for_links_in_a_loop_never_lead_out(root, tmp_path):
    secret = tmp_path / "secret"
    (secret / "deep").mkdir(parents=True)
    (secret / "deep" / "SECRET").touch()
    (root / "d" / "deep").mkdir(parents=True)
    stop = threading.Event()

    def swap():
        while not stop.is_set():
            (root / "d").rename(root / "aside")
            (root / "d").symlink_to(secret)
            (root / "d").unlink()
            (root / "aside").rename(root / "d")

    swapping = threading.Thread(target=swap)
    swapping.start()
    try:
        for _ in range(300):
            tree = Tree(root)
            found = {name for d in Walk(tree, report=lambda _: None) for name in d.names}
            tree.close()
            assert b"SECRET" not in found
    finally:
        stop.set()
        swapping.join()
