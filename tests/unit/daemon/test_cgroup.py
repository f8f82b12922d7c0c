"""Dividing the unit's cgroup, on files that look like one."""

import pytest

from agent.copier.session import enter
from agent.daemon.cgroup import Group, NotDivided, divide, own_group

V2 = "cgroup2 /sys/fs/cgroup cgroup2 rw,nosuid 0 0\n"
HYBRID = "tmpfs /sys/fs/cgroup tmpfs ro 0 0\ncgroup /sys/fs/cgroup/cpu cgroup rw,cpu 0 0\ncgroup2 /u cgroup2 rw 0 0\n"


@pytest.fixture
def own(tmp_path):
    """The unit's group with our process, 42, in it."""
    for name, text in {"cgroup.controllers": "cpu io memory\n", "cgroup.procs": "42\n"}.items():
        (tmp_path / name).write_text(text)
    return tmp_path


@pytest.mark.parametrize(
    ("cgroups", "mounts", "found"),
    [
        ("0::/system.slice/hpc-agent.service\n", V2, "/sys/fs/cgroup/system.slice/hpc-agent.service"),
        ("1:cpu:/x\n0::/a\n", HYBRID, "/u/a"),
        ("0::/\n", V2, "/sys/fs/cgroup"),
        ("4:cpu:/x\n", HYBRID, "None"),
        ("0::/a\n", "tmpfs / tmpfs rw 0 0\n", "None"),
    ],
)
def test_our_group_is_found_where_there_is_one(cgroups, mounts, found):
    assert str(own_group(cgroups, mounts)) == found


def test_control_moves_over_before_the_group_is_divided_and_a_rescue_weighs_ten_times_a_background_copy(own):
    groups = divide(own, 42)

    assert (own / "control/cgroup.procs").read_text() == "42"
    assert (own / "cgroup.subtree_control").read_text() == "+cpu +io"
    weights = {group: int((path / "cpu.weight").read_text()) for group, path in groups.items()}
    assert weights == {Group.CONTROL: 100, Group.BACKGROUND: 20, Group.RESCUE: 200}
    assert not (own / "rescue/io.weight").exists()


def test_where_disks_have_weights_they_are_set_too(own):
    (own / "rescue").mkdir()
    (own / "rescue/io.weight").write_text("default 100\n")

    divide(own, 42)

    assert (own / "rescue/io.weight").read_text() == "200"


@pytest.mark.parametrize(
    ("name", "text", "why"),
    [
        ("cgroup.controllers", "hugetlb\n", "no cpu controller"),
        ("cgroup.procs", "41\n42\n", "other processes are in it"),
        ("cgroup.procs", "", "other processes are in it"),
    ],
)
def test_p6_a_group_that_is_not_ours_to_divide_is_left_alone(own, name, text, why):
    (own / name).write_text(text)

    with pytest.raises(NotDivided) as refused:
        divide(own, 42)

    assert why in refused.value.detail
    assert not (own / "control").exists()


def test_p6_without_cgroup_v2_or_the_right_to_write_it_says_so(own):
    with pytest.raises(NotDivided, match="no cgroup v2"):
        divide(None, 42)
    with pytest.raises(NotDivided, match="No such file"):
        divide(own / "gone", 42)


def test_a_copier_that_may_not_enter_its_group_copies_all_the_same(tmp_path, caplog):
    enter(tmp_path)
    assert (tmp_path / "cgroup.procs").read_text() == "0"

    enter(tmp_path / "gone")

    assert "not in" in caplog.text
