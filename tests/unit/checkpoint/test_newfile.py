import errno
import os

import pytest

from agent.checkpoint import newfile
from agent.checkpoint.newfile import Standing, publish, standing
from tests.fakes.checkpoints import a_file, a_link
from tests.fakes.shelf import names


@pytest.fixture
def folder(tmp_path):
    fd = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    yield fd
    os.close(fd)


def publish_here(folder, *, overwrite=False):
    publish(folder, b"working", b"name", overwrite=overwrite)


def test_what_is_published_has_its_name_only(folder, tmp_path):
    (tmp_path / "working").write_text("new")
    publish_here(folder)
    assert names(tmp_path) == ["name"]


def publish_without_links(folder):
    newfile._publish_without_links(folder, b"working", b"name")


@pytest.mark.parametrize("publish_it", [publish_here, publish_without_links])
def test_nothing_is_replaced_unasked(folder, tmp_path, publish_it):
    (tmp_path / "working").write_text("new")
    (tmp_path / "name").write_text("old")
    with pytest.raises(FileExistsError):
        publish_it(folder)
    assert (tmp_path / "name").read_text() == "old"


def test_a_file_system_without_hard_links_will_do(folder, tmp_path):
    (tmp_path / "working").write_text("new")
    publish_without_links(folder)
    assert names(tmp_path) == ["name"]


def test_two_names_of_one_file_are_no_leftover(folder, tmp_path):
    (tmp_path / "name").write_text("same")
    (tmp_path / "working").hardlink_to(tmp_path / "name")
    publish_here(folder, overwrite=True)
    assert names(tmp_path) == ["name"]


def test_p8_a_working_name_that_is_taken_is_not_followed(folder, tmp_path):
    (tmp_path / "victim").write_text("not mine")
    (tmp_path / "working").symlink_to(tmp_path / "victim")
    with pytest.raises(FileExistsError):
        newfile.begin(folder, b"working", a_file(b"name"), preallocate=False)
    assert (tmp_path / "victim").read_text() == "not mine"


def test_what_stands_at_a_name_is_told_by_type_size_and_time(folder, tmp_path):
    (tmp_path / "f").write_text("1")
    os.utime(tmp_path / "f", ns=(7, 7))
    (tmp_path / "l").symlink_to("f")
    os.utime(tmp_path / "l", ns=(7, 7), follow_symlinks=False)

    def told(entry):
        return standing(folder, entry)[0]

    assert told(a_file(b"f", size=1, mtime_ns=7)) is Standing.SAME
    assert told(a_file(b"f", size=2, mtime_ns=7)) is Standing.OTHER
    assert told(a_file(b"f", size=1, mtime_ns=8)) is Standing.OTHER
    assert told(a_file(b"l", size=1, mtime_ns=7)) is Standing.OTHER
    assert told(a_link(b"l", b"f", mtime_ns=7)) is Standing.SAME
    assert told(a_link(b"l", b"g", mtime_ns=7)) is Standing.OTHER
    assert told(a_link(b"f", b"f", mtime_ns=7)) is Standing.OTHER
    assert told(a_file(b"none")) is Standing.NOTHING


def test_a_disk_that_is_too_small_says_so_before_the_download(small_disk):
    fd = os.open(small_disk, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with pytest.raises(OSError) as raised:
            newfile.begin(fd, b"working", a_file(b"name", size=9 << 20), preallocate=True)
    finally:
        os.close(fd)
    assert raised.value.errno == errno.ENOSPC
    assert names(small_disk) == []
