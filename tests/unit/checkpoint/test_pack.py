"""Packs, read back by GNU tar and by Python's tarfile."""

import io
import os
import subprocess
import tarfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.checkpoint.pack import BLOCK, END, header, member_name, padded
from agent.model.checkpoint import Stat

PLAIN = Stat(mode=0o640, uid=1000, gid=100, size=5, mtime_ns=1_700_000_000_999_999_999, ctime_ns=0, inode=1)
DATA = b"hello"

NEEDS_NO_MORE = [
    (b"a", {}),
    (b"a" * 100, {}),
    (b"d" * 155 + b"/" + b"n" * 100, {}),
    (b"d/" * 70 + b"n", {}),
    (b"not utf-8 \xff\xfe\n", {}),
    (b"bits", {"mode": 0o7777}),
    (b"ids", {"uid": 0o7777777, "gid": 0o7777777}),
    (b"late", {"mtime_ns": 0o77777777777 * 10**9}),
    (b"early", {"mtime_ns": 0}),
]
NEEDS_MORE = [
    (b"a" * 101, {}),
    (b"d" * 156 + b"/n", {}),
    (b"d/" + b"n" * 101, {}),
    (b"d/" * 500 + b"n" * 255, {}),
    (b"\xff\xc3\xa9" * 50, {}),
    (b"uid", {"uid": 0o7777777 + 1}),
    (b"gid", {"gid": 2**32 - 2}),
    (b"later", {"mtime_ns": (0o77777777777 + 1) * 10**9}),
    (b"before", {"mtime_ns": -1}),
]


def like(**fields):
    return Stat(**({name: getattr(PLAIN, name) for name in Stat.__slots__} | fields))


def archive(members):
    return b"".join(header(name, stat) + DATA.ljust(padded(len(DATA)), b"\0") for name, stat in members) + END


def read_by_python(body):
    with tarfile.open(fileobj=io.BytesIO(body), encoding="utf-8", errors="surrogateescape") as tar:
        for found in tar:
            yield (
                os.fsencode(found.name),
                (found.mode, found.uid, found.gid, found.size, int(found.mtime)),
                tar.extractfile(found).read(),
            )


def expected(name, stat):
    return name, (stat.mode, stat.uid, stat.gid, stat.size, stat.mtime_ns // 10**9), DATA


@pytest.mark.parametrize(("name", "fields"), NEEDS_NO_MORE)
def test_most_files_cost_one_block(name, fields):
    assert len(header(name, like(**fields))) == BLOCK
    assert list(read_by_python(archive([(name, like(**fields))]))) == [expected(name, like(**fields))]


@pytest.mark.parametrize(("name", "fields"), NEEDS_MORE)
def test_what_has_no_room_stands_in_a_pax_header(name, fields):
    head = header(name, like(**fields))
    assert len(head) > BLOCK
    assert len(head) % BLOCK == 0
    assert list(read_by_python(archive([(name, like(**fields))]))) == [expected(name, like(**fields))]


@given(
    st.binary(min_size=1, max_size=400).filter(lambda name: b"\0" not in name and b"/" not in (name[:1], name[-1:])),
    st.integers(0, 0o7777),
    st.integers(0, 2**32 - 2),
    st.integers(-(10**19), 10**20),
)
def test_any_file_comes_back(name, mode, uid, mtime_ns):
    stat = like(mode=mode, uid=uid, mtime_ns=mtime_ns)
    assert list(read_by_python(archive([(name, stat)]))) == [expected(name, stat)]


def test_gnu_tar_extracts_a_pack_without_a_word(tmp_path):
    members = [(name, like(**fields)) for name, fields in NEEDS_NO_MORE + NEEDS_MORE]
    if os.geteuid() != 0:
        members = [(name, like()) for name, _ in members]
    command = ["tar", "-x", "-p", "--numeric-owner", "--warning=no-timestamp", "-C", tmp_path]  # some are to come
    done = subprocess.run(command, input=archive(members), capture_output=True, check=True)
    assert done.stderr == b""
    for name, stat in members:
        path = os.path.join(os.fsencode(tmp_path), name)  # noqa: PTH118 - bytes
        found = os.stat(path)  # noqa: PTH116 - bytes
        with open(path, "rb") as file:  # noqa: PTH123 - bytes
            assert file.read() == DATA
        assert found.st_mtime_ns == stat.mtime_ns // 10**9 * 10**9
        if os.geteuid() == 0:
            assert (found.st_mode & 0o7777, found.st_uid, found.st_gid) == (stat.mode, stat.uid, stat.gid)


def test_names_are_below_the_root_and_roots_are_told_apart():
    assert member_name(b"/scratch", b"a/b", alone=True) == b"a/b"
    assert member_name(b"/scratch/1/", b"a/b", alone=False) == b"scratch/1/a/b"
    assert member_name(b"/", b"a/b", alone=False) == b"a/b"


def test_no_bytes_take_no_room():
    assert [padded(size) for size in (0, 1, BLOCK, BLOCK + 1)] == [0, BLOCK, BLOCK, 2 * BLOCK]
