"""Seeing, freezing and requeueing jobs of real Slurm, as the agent of their node does it."""

import pytest

from agent.chance import SystemChance
from agent.clock import SystemClock
from agent.slurm.command import Scontrol
from agent.slurm.held import HeldJobs
from agent.slurm.node import SlurmNode
from agent.slurm.requeue import Verdict, why_not
from tests.fakes.lab import give_back, job_state, until
from tests.fakes.slurm import InNode

pytestmark = pytest.mark.slurm


@pytest.fixture
def node(cluster):
    yield "n3"
    give_back(cluster, "n3")


def agent_of(cluster, node, *, instance_id="i-1"):
    scontrol = Scontrol(InNode(cluster, node), "/usr/bin/scontrol")
    return HeldJobs(SlurmNode(node, scontrol, SystemClock()), instance_id=instance_id, chance=SystemChance())


def sbatch(cluster, *options, script="sleep 300"):
    command = ["sbatch", "--parsable", "-D", "/shared/home", "-o", "/dev/null", *options, "--wrap", script]
    return cluster.run("head", command, user="alice", check=True).stdout.strip()


def restarts(cluster, ref):
    return cluster.run("head", ["squeue", "-h", "-j", ref, "-O", "RestartCnt:8"]).stdout.strip()


async def test_jobs_are_seen_and_requeued_once_a_life_and_only_those_that_slurm_takes_back(cluster, node):
    plain = sbatch(cluster, "-w", node)
    kept = sbatch(cluster, "-w", node, "--no-requeue")
    array = sbatch(cluster, "-w", node, "--array=1-2", script="[ $SLURM_ARRAY_TASK_ID = 1 ] || sleep 300")
    task = f"{array}_2"
    until(lambda: job_state(cluster, kept) == job_state(cluster, task) == "RUNNING", "they run", seconds=15)
    until(lambda: job_state(cluster, f"{array}_1") == "", "the first task is done", seconds=15)

    agent, peer = agent_of(cluster, node), agent_of(cluster, node, instance_id="i-2")
    seen = {job.ref: job for job in await agent.all()}
    assert set(seen) == {plain, kept, task}
    assert {ref: why_not(job) for ref, job in seen.items()} == {
        plain: "",
        task: "",
        kept: "submitted with --no-requeue",
    }
    for ref in (plain, task):
        assert (await agent.requeue(ref, life=0)).verdict is Verdict.OURS
        assert (await agent.requeue(ref, life=0)).verdict is Verdict.OURS  # again, as after a restart: nothing more
        assert (await peer.requeue(ref, life=0)).verdict is Verdict.PEERS
        assert restarts(cluster, ref) == "1"
    assert (await agent.requeue(kept, life=0)).verdict is Verdict.REFUSED
    assert (await agent.requeue("999999", life=0)).verdict is Verdict.GONE
    assert job_state(cluster, f"{array}_1") == ""  # the raw number would have started it again
    assert job_state(cluster, kept) == "RUNNING"
