"""Seeing, freezing and requeueing jobs of real Slurm, as the agent of their node does it."""

import asyncio

import pytest

from agent.chance import SystemChance
from agent.clock import SystemClock
from agent.slurm.admin_comment import AdminComments, Kept
from agent.slurm.command import Scontrol
from agent.slurm.held import HeldJobs
from agent.slurm.node import SlurmNode
from agent.slurm.requeue import Verdict, why_not
from tests.fakes.lab import begin, give_back, job_state, until
from tests.fakes.slurm import InNode

pytestmark = pytest.mark.slurm


@pytest.fixture
def node(cluster):
    yield "n3"
    give_back(cluster, "n3")


@pytest.fixture
def both(cluster):
    yield "n2", "n3"
    for node in ("n2", "n3"):
        give_back(cluster, node)


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
    until(lambda: job_state(cluster, kept) == job_state(cluster, task) == "RUNNING", "they run", seconds=30)
    until(lambda: job_state(cluster, f"{array}_1") == "", "the first task is done", seconds=30)

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


async def test_of_two_agents_that_act_at_the_same_moment_exactly_one_requeues_the_job(cluster, both):
    job = sbatch(cluster, "-N2", "-w", ",".join(both))
    agents = [agent_of(cluster, node, instance_id=f"i-{node}") for node in both]
    for life in range(2):
        until(lambda: job_state(cluster, job) == "RUNNING", "it runs", seconds=30)
        done = await asyncio.gather(*(agent.requeue(job, life=life) for agent in agents))
        assert sorted(one.verdict for one in done) == sorted([Verdict.OURS, Verdict.PEERS])
        assert restarts(cluster, job) == str(life + 1)
        # The one that did it, asked again as after a restart, and the other one still know who it was.
        again = await asyncio.gather(*(agent.requeue(job, life=life) for agent in agents))
        assert [one.verdict for one in again] == [one.verdict for one in done]
        begin(cluster, job)


async def test_fencing_an_agent_that_lives_on_neither_requeues_the_next_life_nor_vouches_for_old_files(cluster, node):
    job = sbatch(cluster, "-w", node)
    agent = agent_of(cluster, node)
    until(lambda: job_state(cluster, job) == "RUNNING", "it runs", seconds=30)
    assert (await agent.requeue(job, life=0)).verdict is Verdict.OURS
    begin(cluster, job)
    until(lambda: job_state(cluster, job) == "RUNNING", "its next life has begun", seconds=30)
    before = cluster.run("head", ["squeue", "-h", "-j", job, "-O", "admin_comment:9999"]).stdout
    for late in (agent, agent_of(cluster, node, instance_id="i-2")):
        await late.requeue(job, life=0)
    scontrol = Scontrol(InNode(cluster, node), "/usr/bin/scontrol")
    comments = AdminComments(squeue=scontrol.beside("squeue"), scontrol=scontrol, chance=SystemChance())
    key = "checkpoints/lab-0badcafe/n3/AROA:i-1/20261123T091500.123Z-1a2b3c4d.3.json"
    assert not await comments.keep(job, Kept(life=0, rank=0, key=key, digest="ab" * 32))
    assert (job_state(cluster, job), restarts(cluster, job)) == ("RUNNING", "1")
    assert cluster.run("head", ["squeue", "-h", "-j", job, "-O", "admin_comment:9999"]).stdout == before
