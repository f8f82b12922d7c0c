"""An instance that was stopped and started again, its disk empty, takes back what it saved itself."""

import pytest

from tests.fakes.lab import scratch
from tests.fakes.trees import differences, picture, plant

pytestmark = [pytest.mark.slurm, pytest.mark.s3]

OWN = ("restore", "--latest", "--any", "--instance", "self", "--if-empty", "--to", "/scratch")


def test_an_instance_takes_back_its_own_files_and_nobody_elses(cluster, instance):
    node = instance("n1")
    disk = scratch(cluster, "n1")
    plant(disk / "work")
    before = picture(disk)
    assert node.command("checkpoint").returncode == 0

    full = node.command(*OWN)
    assert full.returncode == 0
    assert "not empty" in full.stderr

    cluster.run("n1", ["find", "/scratch", "-mindepth", "1", "-delete"], check=True)
    back = node.command(*OWN)
    assert back.returncode == 0, back.stderr
    assert differences(before, picture(disk)) == []


def test_an_instance_that_saved_nothing_has_nothing_to_take_back(cluster, instance):
    node = instance("n2")
    assert node.command("restore", "--latest", "--instance", "self", "--to", "/scratch").returncode == 5
