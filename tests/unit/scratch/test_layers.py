"""Layers of container images are told from a job's own files by who made them."""

import os

import pytest

from agent.scratch.layers import bytes_on_disk, container_layers

NAMES = ("docker", "containerd", "enroot/data")
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can make what root made")


@as_root
def test_what_root_made_is_found_and_only_that(tmp_path):
    (tmp_path / "docker" / "overlay2").mkdir(parents=True)
    (tmp_path / "enroot" / "data").mkdir(parents=True)
    (tmp_path / "work").mkdir()
    assert container_layers([tmp_path], NAMES) == ("docker", "enroot/data")


@as_root
def test_a_jobs_own_directory_of_that_name_is_saved(tmp_path):
    ours, theirs = tmp_path / "a", tmp_path / "b"
    (ours / "docker").mkdir(parents=True)
    (theirs / "docker").mkdir(parents=True)
    os.chown(theirs / "docker", 1000, 1000)
    assert container_layers([theirs], NAMES) == ()
    assert container_layers([ours, theirs], NAMES) == ()


@as_root
def test_p8_a_link_of_that_name_is_no_layer(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "docker").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "containerd").write_text("")
    assert container_layers([tmp_path], NAMES) == ()


def test_what_they_take_of_the_disk_is_counted_without_following_links(tmp_path):
    big, layers = tmp_path / "big", tmp_path / "docker"
    big.write_bytes(bytes(1 << 20))
    (layers / "overlay2").mkdir(parents=True)
    (layers / "overlay2" / "blob").write_bytes(os.urandom(1 << 18))
    (layers / "link").symlink_to(big)
    assert 1 << 18 <= bytes_on_disk([layers, tmp_path / "gone"]) < 1 << 19
