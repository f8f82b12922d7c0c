import os
import threading
from errno import EAGAIN, EOPNOTSUPP
from pathlib import Path

import pytest

from agent.checksum import crc64nvme
from agent.scratch import reader as reading
from agent.scratch.reader import Source, SourceChanged
from agent.turns import LONGEST, Turns

MIB = 1 << 20


def read(tree, name):
    source = Source(tree, b"", name)
    body, checksum = source.read(0, source.length)
    source.close()
    return source, body, checksum


def test_a_file_is_read_with_stat_attributes_and_checksum(root, tree):
    (root / "f").write_bytes(b"123456789")
    os.setxattr(root / "f", "user.a", b"1")
    found, body, checksum = read(tree, b"f")
    assert (body, checksum, found.extents) == (b"123456789", 0xAE8B14860A799888, None)
    assert found.stat.inode == (root / "f").stat().st_ino
    assert dict(found.xattrs) == {"user.a": b"1"}


def test_access_time_is_left_alone(root, tree):
    (root / "f").write_bytes(b"x")
    os.utime(root / "f", ns=(1, 2))
    read(tree, b"f")
    assert (root / "f").stat().st_atime_ns == 1


def test_a_run_of_a_file_is_read(root, tree):
    (root / "f").write_bytes(bytes(range(256)) * 16)
    source = Source(tree, b"", b"f")
    expected = bytes([*range(250, 256), 0, 1, 2, 3])
    assert source.read(250, 10) == (expected, crc64nvme(expected))
    assert source.checksum(250, 10) == crc64nvme(expected)
    source.close()


def test_a_run_of_a_file_flows_piece_by_piece(root, tree):
    data = os.urandom(1000)
    (root / "f").write_bytes(data)
    source = Source(tree, b"", b"f")
    flow, piece = source.flow(100, 800), memoryview(bytearray(300))
    assert flow.size == 800
    flow.read(300, piece)
    assert piece == data[400:700]
    flow.read(600, piece[:200])
    assert piece[:200] == data[700:900]
    source.close()


def test_a_file_that_has_to_come_from_the_disk_is_read(root, tree):
    data = os.urandom(300_000)
    with (root / "f").open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    assert read(tree, b"f")[1] == data


@pytest.mark.parametrize("answer", [BlockingIOError(EAGAIN, "not in memory"), OSError(EOPNOTSUPP, "no such flag"), 0])
def test_whoever_waits_for_a_disk_steps_aside_whatever_the_kernel_says_of_it(root, tree, monkeypatch, answer):
    (root / "f").write_bytes(b"behold" * 1000)
    preadv, turns, worked = os.preadv, Turns(1), threading.Event()

    def work():
        with turns.taken():
            worked.set()

    def from_disk(fd, buffers, offset, flags=0):
        if not flags:
            threading.Thread(target=work).start()
            assert worked.wait(LONGEST / 2), "nobody else had the turn"
            return preadv(fd, buffers, offset)
        if isinstance(answer, OSError):
            raise answer
        return answer

    monkeypatch.setattr(os, "preadv", from_disk)  # the kernel's own answers depend on what it has in memory
    with turns.taken():
        assert read(tree, b"f")[1] == b"behold" * 1000
    assert worked.is_set()


def test_the_checksum_of_a_long_file_is_computed_in_pieces(root, tree):
    data = os.urandom(MIB + 17)
    (root / "f").write_bytes(data)
    source = Source(tree, b"", b"f")
    assert source.checksum(0, len(data)) == crc64nvme(data)
    source.close()


def test_only_the_data_of_a_sparse_file_is_read(root, tree):
    with (root / "f").open("wb") as file:
        file.truncate(10 * MIB)
        os.pwrite(file.fileno(), b"a" * 4096, 0)
        os.pwrite(file.fileno(), b"b" * 4096, 5 * MIB)
        os.pwrite(file.fileno(), b"c" * 4096, 9 * MIB)
    source = Source(tree, b"", b"f")
    assert source.extents == ((0, 4096), (5 * MIB, 4096), (9 * MIB, 4096))
    assert source.length == 3 * 4096
    assert source.read(4000, 4300)[0] == b"a" * 96 + b"b" * 4096 + b"c" * 108
    source.close()


def test_a_file_of_one_hole_has_no_data(root, tree):
    with (root / "f").open("wb") as file:
        file.truncate(MIB)
    found, body, _ = read(tree, b"f")
    assert (found.extents, body, found.stat.size) == ((), b"", MIB)


def test_p2_a_sparse_file_that_becomes_shorter_under_our_look_has_changed_and_is_not_gone(root, tree, monkeypatch):
    with (root / "f").open("wb") as file:
        file.truncate(8 * MIB)
        os.pwrite(file.fileno(), b"x" * MIB, 2 * MIB)
    real = os.lseek

    def shortened(fd, offset, whence):
        if whence == os.SEEK_HOLE:
            os.truncate(root / "f", MIB)
        return real(fd, offset, whence)

    monkeypatch.setattr(os, "lseek", shortened)
    source = Source(tree, b"", b"f")
    with pytest.raises(SourceChanged):
        source.check()


def test_a_file_in_very_many_pieces_keeps_its_largest_holes(root, tree, monkeypatch):
    places = [0, 8192, 3 * 8192, 4 * 8192, 40 * 8192]
    with (root / "f").open("wb") as file:
        for place in places:
            os.pwrite(file.fileno(), b"x" * 4096, place)
    monkeypatch.setattr(reading, "MOST_EXTENTS", 3)  # a constant: 10,000 pieces take long to write
    source = Source(tree, b"", b"f")
    assert source.extents == ((0, 8192 + 4096), (3 * 8192, 8192 + 4096), (40 * 8192, 4096))
    data = (root / "f").read_bytes()
    assert source.read(0, source.length)[0] == b"".join(data[s : s + n] for s, n in source.extents)
    source.close()


def test_a_file_written_to_meanwhile_is_changed(root, tree):
    (root / "f").write_bytes(b"x" * 100)
    source = Source(tree, b"", b"f")
    source.check()
    with (root / "f").open("ab") as file:
        file.write(b"y")
    with pytest.raises(SourceChanged, match="written to"):
        source.check()
    source.close()


def test_a_file_that_became_shorter_reads_as_zeros(root, tree):
    (root / "f").write_bytes(b"x" * 100)
    source = Source(tree, b"", b"f")
    os.truncate(root / "f", 10)
    assert source.read(0, 100)[0] == b"x" * 10 + bytes(90)
    source.close()


def test_p8_a_fifo_put_in_the_place_of_a_file_does_not_block(root, tree):
    os.mkfifo(root / "f")
    with pytest.raises(FileNotFoundError):
        Source(tree, b"", b"f")


def test_p8_a_link_put_in_the_place_of_a_file_is_not_followed(root, tree, tmp_path):
    (tmp_path / "secret").write_bytes(b"secret")
    (root / "f").symlink_to(tmp_path / "secret")
    with pytest.raises(OSError, match="Too many levels"):
        Source(tree, b"", b"f")


def test_a_descriptor_that_nobody_closed_is_closed_with_its_source(root, tree):
    (root / "f").write_bytes(b"x")
    source = Source(tree, b"", b"f")
    before = sum(1 for _ in Path("/proc/self/fd").iterdir())
    del source
    assert sum(1 for _ in Path("/proc/self/fd").iterdir()) == before - 1
