"""What the end-to-end tests do with real nodes: jobs on them, looks at them, and giving them back as they were."""

import json
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from agent.demo.cluster import Cluster, ClusterFailed
from agent.demo.stage import Instance

T = TypeVar("T")

SCRATCH = "256m"
"""The size of /scratch on a fresh node, as Cluster.up has it."""

CLEAN = """
    for place in /var/lib/hpc-agent /run/hpc-agent; do umount -q "$place" || :; done
    rm -rf /var/lib/hpc-agent /run/hpc-agent /etc/hpc-agent
    mountpoint -q /scratch || mount -t tmpfs -o mode=1777 lab /scratch
    mount -o remount,size={scratch} /scratch
    find /scratch -mindepth 1 -delete
    rm -rf /tmp/back
"""


def until(look: Callable[[], T], what: str, *, seconds: float, every: float = 0.05) -> T:
    """Return the first true answer of `look`; fail when there is none within `seconds`."""
    end = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < end, f"{what}: not within {seconds:g} s"
        time.sleep(every)
    return found


def state_of(cluster: Cluster, node: str) -> str:
    """The node's State as Slurm prints it: IDLE, MIXED+DRAIN, ..."""
    found = re.search(r" State=(\S+)", cluster.node_state(node))
    return found[1] if found else ""


def reason_of(cluster: Cluster, node: str) -> str:
    """The node's drain reason without who set it when; "" without one."""
    found = re.search(r" Reason=(.*?) \[", cluster.node_state(node), re.DOTALL)
    return found[1] if found else ""


def is_drained(cluster: Cluster, node: str) -> bool:
    return "DRAIN" in state_of(cluster, node)


def submit(cluster: Cluster, node: str, script: str) -> str:
    """Start a batch job of alice's on `node`; return its id once it runs."""
    command = ["sbatch", "--parsable", "-w", node, "-D", "/shared/home", "-o", "/shared/home/%j.out", "--wrap", script]
    job = cluster.run("head", command, user="alice", check=True).stdout.strip()
    until(lambda: job_state(cluster, job) == "RUNNING", f"job {job} runs", seconds=15)
    return job


def job_state(cluster: Cluster, job: str) -> str:
    """RUNNING, PENDING, ...; "" when Slurm has forgotten it."""
    return cluster.run("head", ["squeue", "-h", "-j", job, "-o", "%T"]).stdout.strip()


def begin(cluster: Cluster, job: str) -> None:
    """Have a requeued job begin now, not only when its old credential has expired.

    Never in the second in which its nodes got rid of it: their slurmd takes a credential of that second for the revoked
    one ("already killed, do not launch batch job"), and the job has FAILED. Nor in the two seconds after it, in which
    slurmd does not look for old credentials: with one in its list it leaves out the Prolog.
    """
    until(lambda: job_state(cluster, job) == "PENDING", f"the nodes are rid of job {job}", seconds=20)
    time.sleep(3 - time.time() % 1)
    cluster.run("head", ["scontrol", "update", f"JobId={job}", "StartTime=now"])  # rc 1 when it has begun by itself


def scratch(cluster: Cluster, node: str) -> Path:
    """The node's /scratch as the host sees it."""
    return cluster.inside(node, "/scratch")


def entered(instance: Instance, phase: str) -> float:
    """When the agent's evacuation came to `phase`, by its journal, in the monotonic seconds all nodes share."""
    journal = instance.cluster.inside(instance.name, "/var/lib/hpc-agent/journal.jsonl")
    at: float = json.loads(journal.read_text().splitlines()[-1])["state"]["entered"][phase]
    return at


def metrics(instance: Instance, *, asked_by: str = "") -> str:
    """What the agent shows to Prometheus, asked from inside its node or from another machine of the cluster."""
    host = instance.cluster.address(instance.name) if asked_by else "127.0.0.1"
    command = ["curl", "-sSg", "--max-time", "5", f"http://{host}:9732/metrics"]
    return instance.cluster.run(asked_by or instance.name, command, check=True).stdout


def sample(text: str, series: str) -> float:
    """The value of one series, with its labels as they are printed."""
    found = re.search(rf"^{re.escape(series)} (\S+)$", text, re.MULTILINE)
    assert found, f"no {series} in\n{text}"
    return float(found[1])


def give_back(cluster: Cluster, node: str) -> None:
    """Leave a node as a test finds it: it runs, idle, not drained, without jobs, files or an agent's past."""
    try:
        cluster.run(node, ["true"], check=True)
    except ClusterFailed:
        cluster.boot(node)
    until(lambda: not cluster.run(node, ["pgrep", "-f", "agent[. ]copier"]).stdout, "the copier ends", seconds=10)
    cluster.run("head", ["scancel", "--nodelist", node], check=True)
    cluster.run("head", ["scancel", "--state", "PENDING"], check=True)  # a job that came back to the queue
    cluster.run(node, ["sh", "-c", CLEAN.format(scratch=SCRATCH)], check=True)
    cluster.settle()
    if is_drained(cluster, node):
        cluster.run("head", ["scontrol", "update", f"NodeName={node}", "State=UNDRAIN"], check=True)
    until(lambda: state_of(cluster, node) == "IDLE", f"{node} is idle again", seconds=60)
