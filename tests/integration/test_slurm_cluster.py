"""The lab itself: nodes that look like production hosts, and nothing left behind."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from agent.demo.cluster import Cluster

pytestmark = pytest.mark.slurm

CGROUPS = Path("/sys/fs/cgroup")


def traces(directory: Path) -> list[str]:
    """Return the command lines of processes that speak of the directory, and cgroups of labs."""
    processes = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = entry.read_text().replace("\0", " ")
        except (FileNotFoundError, ProcessLookupError):
            continue
        if str(directory) in line:
            processes.append(line)
    return processes


def cgroup(directory: Path) -> list[Path]:
    return list(CGROUPS.rglob(f"hpc-agent-lab-{directory.stat().st_ino}"))


def test_a_node_looks_like_a_host_of_its_own(cluster):
    assert cluster.run("n1", ["hostname"]).stdout == "n1\n"
    assert "169.254.169.254/32" in cluster.run("n1", ["ip", "-4", "addr", "show", "lo"]).stdout
    assert cluster.run("n1", ["id", "-u"], user="alice").stdout == "4242\n"
    assert cluster.run("n1", ["findmnt", "-no", "FSTYPE", "/scratch"]).stdout == "tmpfs\n"


def test_nodes_share_shared_and_nothing_else(cluster):
    cluster.run("n1", ["sh", "-c", "echo both >/shared/note; echo own >/scratch/note"], check=True)
    assert cluster.run("n2", ["cat", "/shared/note"]).stdout == "both\n"
    assert cluster.run("n2", ["cat", "/scratch/note"]).returncode == 1
    cluster.run("n1", ["rm", "/shared/note", "/scratch/note"], check=True)


def test_the_agent_itself_can_be_run_inside_a_node(cluster):
    done = cluster.run("n1", [sys.executable, "-c", "import agent.errors; print('here')"])
    assert done.stdout == "here\n", done.stderr


def test_signals_reach_the_command_in_the_node(cluster):
    trap = "trap 'exit 7' TERM; echo ready; while :; do sleep 0.05; done"
    with cluster.popen("n1", ["bash", "-c", trap], stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == "ready\n"
        process.terminate()
        assert process.wait(timeout=5) == 7


def test_a_killed_node_comes_back_as_a_new_instance(cluster):
    cluster.run("n3", ["touch", "/scratch/old", "/root/old"], check=True)
    cluster.kill("n3")
    cluster.boot("n3")
    assert cluster.run("n3", ["ls", "/scratch"]).stdout == ""
    assert cluster.run("n3", ["test", "-e", "/root/old"]).returncode == 1
    cluster.settle()


def test_a_job_runs_where_it_is_sent(cluster):
    job = ["sbatch", "--wait", "-w", "n2", "-D", "/shared/home", "-o", "/shared/home/out", "--wrap", "hostname"]
    cluster.run("head", job, user="alice", check=True)
    assert (cluster.shared / "home" / "out").read_text() == "n2\n"


def test_nothing_is_left_behind(tmp_path):
    directory = tmp_path / "lab"
    lab = Cluster.up(directory, 1)
    groups = cgroup(directory)
    assert traces(directory)
    lab.down()
    assert not traces(directory)
    assert not directory.exists()
    assert not [group for group in groups if group.exists()]


def test_nothing_is_left_behind_when_the_driver_is_killed(tmp_path):
    directory = tmp_path / "lab"
    driver = f"""
        import os, signal
        from pathlib import Path
        from agent.demo.cluster import Cluster
        lab = Cluster.up(Path({str(directory)!r}), 1)
        lab.popen("n1", ["sleep", "1000"])
        os.kill(os.getpid(), signal.SIGKILL)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(driver)], cwd=Path(__file__).parents[2], check=False)
    assert done.returncode == -signal.SIGKILL
    limit = time.monotonic() + 10
    while directory.exists() or traces(directory):
        assert time.monotonic() < limit, traces(directory)
        os.sched_yield()


def test_two_clusters_do_not_meet(cluster, tmp_path):
    with Cluster.up(tmp_path / "lab", 1) as other:
        other.run("head", ["scontrol", "update", "nodename=n1", "state=drain", "reason=other"], check=True)
        assert "DRAIN" in other.node_state("n1")
        assert "DRAIN" not in cluster.node_state("n1")
