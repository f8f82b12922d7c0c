from pathlib import Path

import pytest

from agent.scratch.mount import NotMounted, is_mount, require_mount


def test_the_root_and_proc_are_mounts():
    assert is_mount(Path("/"))
    assert is_mount(Path("/proc"))
    require_mount(Path("/proc"))


def test_a_file_mounted_over_another_of_the_same_device_is_found():
    bound = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines() if "\\" not in line]
    assert all(is_mount(Path(path)) for path in bound if Path(path).exists())


def test_a_link_to_a_mount_is_one(tmp_path):
    (tmp_path / "link").symlink_to("/proc")
    assert is_mount(tmp_path / "link")


def test_a_plain_directory_is_refused_with_a_hint(tmp_path):
    with pytest.raises(NotMounted, match=r"nothing is mounted there.*require_mount"):
        require_mount(tmp_path)


def test_a_missing_directory_is_refused(tmp_path):
    with pytest.raises(NotMounted, match="no such directory"):
        require_mount(tmp_path / "nothing")
