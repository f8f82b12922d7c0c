"""A machine that starts again, under a real systemd: by a reboot in its order, and by a cut of its power."""

import sys
from pathlib import Path

import pytest

from tests.fakes.systemd_machine import AGENT, UNIT, VENV, Machine, scratch, silent_s3
from tests.fakes.systemd_root import SystemdRoot

pytestmark = pytest.mark.systemd


@pytest.fixture
def machine(tmp_path):
    with SystemdRoot.running(tmp_path / "lab", {"/etc/systemd/system/hpc-agent.service": UNIT.read_text()}) as root:
        root.did("mkdir", "-p", "/opt/hpc-agent")
        root.did("ln", "-s", str(VENV), "/opt/hpc-agent/current")
        root.did("rm", "-f", "/usr/bin/scontrol")
        for closed in Path(sys.executable).resolve().parents:  # an interpreter in /root is not for users otherwise
            root.did("chmod", "o+x", str(closed))
        agent = Machine(root)
        root.did("systemctl", "enable", "hpc-agent")
        yield agent


# ProtectKernelTunables= shows a unit the host's /proc/sys, and with it the one boot that the host has had.
BOOT = "BindReadOnlyPaths=/run/boot_id:/proc/sys/kernel/random/boot_id"


def test_p7_it_comes_back_by_itself_after_a_reboot_and_after_a_power_cut_in_the_middle_of_a_rescue(machine):
    root = machine.root
    machine.configure(unit=BOOT)
    machine.until_state("watching")

    root.reboot()

    machine.until_state("watching")
    assert machine.restarts() == 0
    before = machine.status()["node"]["boot_id"]

    with silent_s3(root) as variables, scratch(root):
        machine.configure(unit=BOOT, variables=variables)
        machine.until_state("watching")
        root.did(AGENT, "evacuate", "--deadline", "30m")
        machine.until_state("copying")

        root.power_cycle()

    machine.until_state("watching")
    assert machine.status()["node"]["boot_id"] != before
    assert machine.status()["notices"] == []
