"""The unit under a real systemd: hpc-agent.service as it is installed, the agent as it is here."""

import contextlib
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fakes.systemd_machine import (
    AGENT,
    NEIGHBOUR,
    UNIT,
    VENV,
    Machine,
    dead_disk,
    imds,
    real_s3,
    scratch,
    silent_s3,
)
from tests.fakes.systemd_root import SystemdRoot, until

pytestmark = pytest.mark.systemd


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    files = {
        "/etc/systemd/system/hpc-agent.service": UNIT.read_text(),
        "/etc/systemd/system/hpc-agent-restore.service": UNIT.with_name("hpc-agent-restore.service").read_text(),
        "/etc/systemd/system/slurmd.service": NEIGHBOUR,
        "/etc/systemd/system/munge.service": NEIGHBOUR,
    }
    with SystemdRoot.running(tmp_path_factory.mktemp("systemd") / "lab", files) as root:
        root.did("mkdir", "-p", "/opt/hpc-agent")
        root.did("ln", "-s", str(VENV), "/opt/hpc-agent/current")
        root.did("rm", "-f", "/usr/bin/scontrol")
        ways = {*Path(sys.executable).resolve().parents, *VENV.parents, *UNIT.parents}
        for closed in sorted(ways):  # an interpreter or a checkout in /root is not for users otherwise
            root.did("chmod", "o+x", str(closed))
        yield root


@pytest.fixture
def machine(lab):
    """The agent, started with the unit as it is installed; stopped and forgotten afterwards."""
    agent = Machine(lab)
    agent.configure()
    yield agent
    agent.root.run("systemctl", "kill", "--signal=SIGKILL", "hpc-agent")
    lab.did("systemctl", "stop", "hpc-agent", "slurmd", "munge")
    lab.run("systemctl", "reset-failed", "hpc-agent")
    lab.did("rm", "-rf", "/var/lib/hpc-agent")


def test_p6_it_is_ready_where_there_is_nothing_to_work_with(machine):
    assert machine.shown("ActiveState") == "active"
    assert machine.shown("NotifyAccess") == "main"

    def off():
        return {name for name, known in machine.status()["capabilities"].items() if known["on"] is False}

    until(
        lambda: {"slurm", "scratch", "bucket"} <= off(), "what is missing", seconds=30
    )  # Slurm is not looked for first
    assert {"socket", "http", "journal"} & off() == set()
    until(lambda: re.match("watching|returning", machine.shown("StatusText")), "a status text", seconds=30)


def test_a_user_reads_the_status_and_may_do_no_more(machine):
    assert machine.status(user="nobody")["schema"] == 1

    refused = machine.root.run(AGENT, "evacuate", user="nobody")

    assert refused.returncode == 1
    assert "root" in refused.stderr


def test_the_directories_are_there_with_their_modes(machine):
    def mode(path):
        return oct(machine.root.inside(path).stat().st_mode & 0o7777)

    assert mode("/run/hpc-agent") == "0o755"
    assert mode("/run/hpc-agent/agent.sock") == "0o666"
    assert mode("/var/lib/hpc-agent") == "0o700"


def test_p4_the_unit_keeps_it_from_writing_to_the_scratch(machine):
    with scratch(machine.root):
        machine.root.did("systemctl", "restart", "hpc-agent")
        there = ["nsenter", "-t", str(machine.pid), "-m", "--", "touch"]

        assert "Read-only file system" in machine.root.run(*there, "/scratch/x").stderr
        assert "Read-only file system" in machine.root.run(*there, "/etc/x").stderr
        assert machine.root.run(*there, "/var/lib/hpc-agent/x").returncode == 0


def test_of_all_cgroups_the_unit_lets_it_divide_its_own(machine):
    there = ["nsenter", "-t", str(machine.pid), "-m", "--", "mkdir"]

    assert "Read-only file system" in machine.root.run(*there, "/sys/fs/cgroup/system.slice/x").stderr
    assert machine.root.run(*there, "/sys/fs/cgroup/system.slice/hpc-agent.service/x").returncode == 0
    assert machine.shown("DelegateControllers") == "cpu io"


def test_a_disk_that_is_mounted_after_the_start_is_seen_and_can_be_unmounted(machine):
    assert machine.status()["capabilities"]["scratch"]["on"] is False

    with scratch(machine.root):
        seen = machine.root.run("nsenter", "-t", str(machine.pid), "-m", "--", "cat", "/scratch/job/result")
        assert seen.stdout == "a" * 1000

    gone = machine.root.run("nsenter", "-t", str(machine.pid), "-m", "--", "ls", "/scratch")
    assert gone.stdout == ""


def test_p7_it_is_started_again_after_kill_9(machine):
    before = machine.pid

    machine.signal(signal.SIGKILL)

    until(lambda: machine.restarts() == 1 and machine.shown("ActiveState") == "active", "up again", seconds=30)
    assert machine.pid != before
    assert machine.status()


def test_the_watchdog_ends_an_agent_that_hangs_and_starts_another(machine):
    machine.configure(unit="WatchdogSec=2s")
    hung = machine.pid

    machine.signal(signal.SIGSTOP)

    until(lambda: machine.restarts() == 1 and machine.shown("ActiveState") == "active", "up again", seconds=30)
    assert machine.pid != hung
    assert "Fatal Python error: Aborted" in machine.journal()  # and where: it is a traceback


def test_wrong_settings_end_it_once_with_the_line_that_says_why(machine):
    machine.root.run("systemctl", "stop", "hpc-agent")
    machine.root.write("/etc/hpc-agent/environment", "HPC_AGENT_S3__BUKKET=typo\n")

    assert machine.root.run("systemctl", "start", "hpc-agent").returncode != 0

    assert machine.shown("ActiveState") == "failed"
    assert machine.restarts() == 0
    assert "HPC_AGENT_S3__BUKKET" in machine.journal()


def test_a_stop_while_nothing_goes_on_is_quick(machine):
    machine.until_state("watching")
    stopping = subprocess.Popen(machine.root.command("systemctl", "stop", "hpc-agent"))

    assert stopping.wait(timeout=5) == 0

    assert machine.shown("Result") == "success"
    assert machine.shown("ActiveState") == "inactive"
    assert machine.root.run(AGENT, "status").returncode == 3


def test_a_stop_waits_for_the_rescue_before_slurm_is_stopped_and_a_second_signal_ends_it(machine):
    root = machine.root
    with silent_s3(root) as variables, scratch(root):
        machine.configure(unit="TimeoutStopSec=2s", variables=variables)
        root.did("systemctl", "start", "slurmd", "munge")
        root.did(AGENT, "evacuate", "--deadline", "30m")
        machine.until_state("copying")

        root.did("systemctl", "stop", "--no-block", "hpc-agent", "slurmd", "munge")
        until(lambda: "going on" in machine.journal(), "the first signal", seconds=30)
        with contextlib.suppress(subprocess.TimeoutExpired):  # past what TimeoutStopSec alone would allow
            subprocess.run(root.command("tail", f"--pid={machine.pid}", "-f", "/dev/null"), check=False, timeout=5)

        assert machine.shown("SubState") == "stop-sigterm"
        assert machine.status()["state"] == "copying"
        assert root.shown("slurmd", "ActiveState") == root.shown("munge", "ActiveState") == "active"

        machine.signal(signal.SIGTERM)
        took = until(lambda: machine.shown("ActiveState") == "inactive", "ended", seconds=17)

        assert machine.shown("Result") == "success"
        assert took < 15
        until(lambda: root.shown("slurmd", "ActiveState") == "inactive", "slurmd stopped", seconds=30)
        ended = int(machine.shown("InactiveEnterTimestampMonotonic"))
        assert ended <= int(root.shown("slurmd", "InactiveEnterTimestampMonotonic"))


def test_p7_a_rescue_goes_on_after_kill_9(machine):
    with silent_s3(machine.root) as variables, scratch(machine.root):
        machine.configure(variables=variables)
        machine.root.did(AGENT, "evacuate", "--deadline", "30m")
        machine.until_state("copying")

        machine.signal(signal.SIGKILL)

        machine.until_state("copying")
        assert machine.restarts() == 1


def test_p6_it_starts_and_stops_while_the_scratch_disk_hangs(machine):
    with dead_disk(machine.root):
        machine.root.did("systemctl", "restart", "hpc-agent")
        machine.until(lambda status: "no answer" in status["capabilities"]["scratch"]["detail"], "noticed")

        stopping = subprocess.Popen(machine.root.command("systemctl", "stop", "hpc-agent"))

        assert stopping.wait(timeout=5) == 0
        assert machine.shown("Result") == "success"


@pytest.mark.s3
def test_a_notice_is_seen_and_what_only_root_can_read_is_saved_under_the_limits_of_the_unit(machine, tmp_path):
    root = machine.root
    with real_s3(root, tmp_path) as s3, imds(root) as metadata, scratch(root):
        root.did("chown", "-R", "4242:4242", "/scratch/job")
        root.did("chmod", "0000", "/scratch/job/result", "/scratch/job")
        machine.configure(variables=s3.variables)
        machine.until_state("watching")

        metadata.interrupt()

        machine.until_state("resting")
        status = machine.status()
        assert status["notice"]["kind"] == "spot-terminate"
        assert status["checkpoint"]["complete"] is True
        assert status["checkpoint"]["bytes"] == 1000
        assert status["outcome"] == "COMPLETE"


@pytest.mark.slurm  # for munge
def test_munge_vouches_for_it_under_the_limits_of_the_unit(machine):
    limits = re.sub(r"(?m)^(Type|NotifyAccess|ExecStart|Watchdog.*|Restart.*)=.*$", "", UNIT.read_text())
    ask = 'munge -n -S /run/munge/s | unmunge -S /run/munge/s | grep "^UID:"'
    probe = f"[Service]\nType=oneshot\nExecStart=/bin/sh -c '{ask}'\n"
    machine.root.write("/etc/systemd/system/probe.service", limits)
    machine.root.write("/etc/systemd/system/probe.service.d/probe.conf", probe)
    key, here = "/run/munge/key", "/run/munge"
    machine.root.did("install", "-d", "-o", "munge", "-g", "munge", "-m", "755", here)
    machine.root.did("sh", "-c", f"umask 077; head -c 128 /dev/urandom >{key}; chown munge:munge {key}")
    places = [f"--pid-file={here}/pid", f"--log-file={here}/log", f"--seed-file={here}/seed", f"--socket={here}/s"]
    machine.root.did(
        "setpriv", "--reuid=munge", "--regid=munge", "--clear-groups", "munged", f"--key-file={key}", *places
    )

    machine.root.did("systemctl", "daemon-reload")
    machine.root.run("systemctl", "start", "probe")

    assert "root (0)" in machine.root.did("journalctl", "-u", "probe", "-o", "cat")


def test_it_stops_before_what_it_needs_and_starts_after_it(machine):
    after = set(machine.shown("After").split())

    assert {"slurmd.service", "munge.service", "network-online.target", "remote-fs.target"} <= after
    assert "network-online.target" in machine.shown("Wants")


@pytest.mark.parametrize("unit", ["hpc-agent.service", "hpc-agent-restore.service"])
def test_systemd_has_nothing_to_say_against_the_unit(machine, unit):
    checked = machine.root.run("systemd-analyze", "verify", unit)

    assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")


def test_the_unit_is_no_more_exposed_than_it_was(machine):
    checked = machine.root.run("systemd-analyze", "security", "--offline=true", "--threshold=29", str(UNIT))

    assert checked.returncode == 0, checked.stdout
