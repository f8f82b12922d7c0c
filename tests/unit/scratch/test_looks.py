import os
import socket

import pytest

from agent.scratch.found import row_of
from agent.scratch.looks import SLICE, Looking, Looks, compared, device_number

FAR = (-1, 0, 1, 2**33 * 10**9 + 999_999_999)
"""Times in nanoseconds, of which ext4 keeps some and tmpfs all."""


@pytest.fixture
def folder(tmp_path):
    fd = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    yield fd
    os.close(fd)


def looked(folder):
    names = sorted(map(os.fsencode, os.listdir(folder)))  # noqa: PTH208 - a descriptor
    return Looking().look(folder, names), [os.stat(name, dir_fd=folder, follow_symlinks=False) for name in names]


def plant(root):
    (root / "file").write_bytes(b"123")
    (root / "file").chmod(0o4751)
    os.chown(root / "file", 1234, 2**32 - 2)
    os.link(root / "file", root / "again")
    (root / "folder").mkdir()
    (root / "link").symlink_to("nowhere")
    (root / os.fsdecode(b"odd \xff")).touch()
    os.mkfifo(root / "pipe")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(root / "socket"))
    with (root / "huge").open("wb") as file:
        file.truncate(1 << 43)
    for number, time in enumerate(FAR):
        (root / f"time{number}").touch()
        os.utime(root / f"time{number}", ns=(time, time))


def test_it_says_what_lstat_says(tmp_path, folder):
    plant(tmp_path)
    looks, stats = looked(folder)
    assert [row_of(found) for found in looks.stats()] == [row_of(found) for found in stats]
    for ours, theirs in zip(looks.stats(), stats, strict=True):
        assert tuple(ours)[:7] == tuple(theirs)[:7]
        assert (int(ours.st_mtime), int(ours.st_ctime)) == (theirs.st_mtime_ns // 10**9, theirs.st_ctime_ns // 10**9)
    assert list(looks.modes) == [found.st_mode for found in stats]
    assert set(looks.devices) == {device_number(os.fstat(folder).st_dev)}


def test_what_is_compared_is_the_same_of_a_look_and_of_what_was_known(tmp_path, folder):
    plant(tmp_path)
    looks, stats = looked(folder)
    rows = [row_of(found) for found in stats]
    assert looks.compared() == compared(rows)
    for number, row in enumerate(rows):
        for field in range(len(row)):
            other = tuple(value + (at == field) for at, value in enumerate(row))
            assert compared([*rows[:number], other, *rows[number + 1 :]]) != looks.compared()


def test_it_tells_whether_all_are_files_of_one_device(tmp_path, folder):
    plant(tmp_path)
    here = device_number(os.fstat(folder).st_dev)
    assert not looked(folder)[0].are_files_on(here)
    (tmp_path / "folder").rmdir()
    looks, _ = looked(folder)
    assert (looks.are_files_on(here), looks.are_files_on(here + 1), Looks().are_files_on(here)) == (True, False, True)


def test_none_are_nothing(folder):
    looks = Looking().look(folder, [])
    assert (len(looks), looks.compared(), list(looks.stats())) == (0, compared([]), [])


def test_they_are_added_cut_and_chosen_like_lists(tmp_path, folder):
    plant(tmp_path)
    looks, stats = looked(folder)
    rows = [row_of(found) for found in stats]
    assert compared(rows * 2) == (looks + looks).compared()
    assert compared(rows[2:5]) == looks[2:5].compared()
    assert compared(rows[3:]) == looks[3:].compared()
    assert compared([rows[4], rows[1]]) == looks.some([4, 1]).compared()
    assert len(Looks() + looks) == len(looks) == len(stats)


def test_one_that_is_not_there_is_an_error_of_the_system(tmp_path, folder):
    (tmp_path / "there").touch()
    looking = Looking()
    with pytest.raises(FileNotFoundError):
        looking.look(folder, [b"there", b"gone"])
    with pytest.raises(OSError, match="File name too long"):
        looking.look(folder, [b"n" * 300])
    assert len(looking.look(folder, [b"there"])) == 1


def test_a_directory_of_thousands_goes_slice_by_slice(tmp_path, folder):
    for number in range(SLICE):
        (tmp_path / f"{number:04}").touch()
    looks, stats = looked(folder)
    assert looks.compared() == compared([row_of(found) for found in stats])
