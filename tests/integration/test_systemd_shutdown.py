"""A machine that is powered off with a job on it, under a real systemd: the only notice is the SIGTERM."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fakes.systemd_machine import AGENT, UNIT, VENV, Machine, lines, real_s3, scratch
from tests.fakes.systemd_root import SystemdRoot, until

pytestmark = [pytest.mark.systemd, pytest.mark.s3]

# Stopped after the agent, and slowly: the machine can be looked at when the agent has ended.
NEIGHBOUR = "[Service]\nExecStart=/bin/sleep infinity\nExecStop=/bin/sleep 20\n"
SCONTROL = """#!/bin/sh
# A node with a job, that can be drained. The unit lets the agent's children write here.
kept=/var/lib/hpc-agent/slurm
case "$*" in
*update*)
    for setting; do case $setting in State=*|Reason=*) echo "$setting";; esac; done >$kept ;;
*"show node"*)
    [ ! -e $kept ] || { flag=+DRAIN; reason=" $(grep ^Reason= $kept) [root@2026-11-23T09:10:35]"; }
    echo "NodeName=n1 CoresPerSocket=1  State=ALLOCATED$flag ThreadsPerCore=1$reason" ;;
esac
"""
HERE = Path(__file__).parents[2]
SETTINGS = {
    "PYTHONPATH": str(HERE),
    "HPC_AGENT_NODE__NAME": "n1",
    "HPC_AGENT_NODE__CLUSTER": "lab-0badcafe",
    "HPC_AGENT_SLURM__BIN_DIR": "/opt/slurm/bin",
}


@pytest.fixture
def machine(tmp_path):
    files = {
        "/etc/systemd/system/hpc-agent.service": UNIT.read_text(),
        "/etc/systemd/system/slurmd.service": NEIGHBOUR,
        "/etc/systemd/system/munge.service": NEIGHBOUR,
        "/opt/slurm/bin/scontrol": SCONTROL,
        "/opt/slurm/bin/squeue": "#!/bin/sh\n",
        "/opt/slurm/bin/scancel": "#!/bin/sh\n",
    }
    with SystemdRoot.running(tmp_path / "lab", files) as root:
        root.did("mkdir", "-p", "/opt/hpc-agent")
        root.did("ln", "-s", str(VENV), "/opt/hpc-agent/current")
        root.did("chmod", "-R", "755", "/opt/slurm/bin")
        for closed in Path(sys.executable).resolve().parents:  # an interpreter in /root is not for users otherwise
            root.did("chmod", "o+x", str(closed))
        yield Machine(root)


def test_a_restart_of_the_agent_is_no_notice_and_a_poweroff_saves_the_node_before_slurm_stops(machine, tmp_path):
    root = machine.root
    with real_s3(root, tmp_path) as s3, scratch(root):
        machine.configure(variables=s3.variables + lines(SETTINGS))
        root.did("systemctl", "start", "slurmd")
        machine.until_state("watching")
        machine.until(lambda status: status["capabilities"]["slurm"]["on"], "Slurm found")

        restart = subprocess.Popen(root.command("systemctl", "restart", "hpc-agent"))
        assert restart.wait(timeout=8) == 0
        machine.until_state("watching")
        machine.until(lambda status: status["capabilities"]["slurm"]["on"], "Slurm found")
        assert machine.status()["notices"] == []

        root.run("systemctl", "poweroff", "--no-block")
        until(lambda: machine.shown("ActiveState") == "inactive", "the agent ended", seconds=60)

        journal = machine.journal()
        assert "the machine is being shut down with work on it" in journal
        assert "releasing -> resting" in journal
        assert root.shown("slurmd", "ActiveState") == "deactivating"
        assert "hpc-agent: shutdown" in root.inside("/var/lib/hpc-agent/slurm").read_text()
        (saved,) = checkpoints(root, s3)
        assert (saved["reason"], saved["complete"], saved["bytes"]) == ("evacuation", True, 1000)


def test_a_rescue_that_is_on_its_way_ends_well_during_a_poweroff_while_munge_and_slurmd_are_up(machine, tmp_path):
    root = machine.root
    with real_s3(root, tmp_path) as s3, scratch(root):
        machine.configure(variables=s3.variables + lines(SETTINGS))
        root.did("systemctl", "start", "slurmd", "munge")
        machine.until_state("watching")
        machine.until(lambda status: status["capabilities"]["slurm"]["on"], "Slurm found")

        s3.stall()
        root.did(AGENT, "evacuate", "--deadline", "10m")
        machine.until_state("copying")
        root.run("systemctl", "poweroff", "--no-block")
        until(lambda: machine.shown("SubState") == "stop-sigterm", "the agent was told", seconds=30)

        assert root.shown("slurmd", "ActiveState") == root.shown("munge", "ActiveState") == "active"
        assert "DRAIN" in root.did("/opt/slurm/bin/scontrol", "show", "node")

        s3.go_on()
        until(lambda: machine.shown("ActiveState") == "inactive", "the agent ended", seconds=60)

        assert machine.shown("Result") == "success"
        assert "releasing -> resting" in machine.journal()
        assert root.shown("slurmd", "ActiveState") == root.shown("munge", "ActiveState") == "deactivating"
        (saved,) = checkpoints(root, s3)
        assert (saved["reason"], saved["complete"], saved["bytes"]) == ("evacuation", True, 1000)


def checkpoints(root, s3):
    listed = root.did("env", *s3.variables.split(), AGENT, "checkpoints", "--json")
    return json.loads(listed)["checkpoints"]
