"""Our node on a real cluster where things happen to it: jobs, death, a dead munged, other nodes."""

import asyncio
import re
import subprocess
import sys
import textwrap
from datetime import UTC, datetime

import pytest

from agent.clock import SystemClock
from agent.model.drain import Drain
from agent.model.node import BootId, InstanceId
from agent.slurm.command import Scontrol
from agent.slurm.errors import SlurmUnavailable
from agent.slurm.node import SlurmNode
from agent.slurm.reason import Reason
from tests.fakes.slurm import InNode

pytestmark = pytest.mark.slurm

ME = {"instance_id": InstanceId("i-0123456789abcdef0"), "boot_id": BootId("1a2b3c4d-0000-4000-8000-000000000001")}
HEIR = {"instance_id": InstanceId("i-0fedcba9876543210"), "boot_id": BootId("99999999-0000-4000-8000-000000000001")}
UNTIL = datetime(2026, 11, 23, 9, 17, tzinfo=UTC)
REASON = Reason(kind="spot-terminate", instance_id=ME["instance_id"], boot="1a2b3c4d", until=UNTIL)


def node_of(cluster, name, *, seconds=10.0):
    return SlurmNode(name, Scontrol(InNode(cluster, name), "scontrol", seconds=seconds), SystemClock())


def script(cluster, name, *arguments):
    return cluster.run("head", ["scontrol", *arguments, name])


@pytest.fixture
def free(cluster):
    """Give the nodes back without drains and jobs."""
    yield
    cluster.run("head", ["scancel", "-u", "alice", "-f"])
    for name in cluster.nodes:
        cluster.run("head", ["scontrol", "update", f"NodeName={name}", "State=UNDRAIN"])
    cluster.settle()


def submit(cluster, *options, seconds=20):
    """Return the number of a job once it runs; raises TimeoutExpired when it does not start."""
    job = ["sbatch", "--parsable", "-D", "/shared/home", "-o", "/dev/null", *options, "--wrap", "sleep 120"]
    number = cluster.run("head", job, user="alice", check=True).stdout.strip()
    wait = f'until [ "$(squeue -h -j {number} -o %T)" = RUNNING ]; do sleep 0.1; done'
    cluster.run("head", ["sh", "-c", wait], timeout=seconds, check=True)
    return number


async def test_a_drain_lets_the_running_job_go_on_and_starts_no_other(cluster, free):
    job = submit(cluster, "-w", "n1")
    assert await node_of(cluster, "n1").drain(REASON) is Drain.OURS
    assert "State=MIXED+DRAIN " in cluster.node_state("n1")
    assert "JobState=RUNNING" in script(cluster, job, "show", "job").stdout
    with pytest.raises(subprocess.TimeoutExpired):
        submit(cluster, "-w", "n1", seconds=3)


async def test_only_our_own_node_is_drained(cluster, free):
    submit(cluster, "-N", "3")
    await node_of(cluster, "n2").drain(REASON)
    assert ["DRAIN" in cluster.node_state(name) for name in cluster.nodes] == [False, True, False]


async def test_a_drain_outlives_its_node_and_the_heir_of_the_name_lifts_it(cluster, free):
    await node_of(cluster, "n3").drain(REASON)
    cluster.kill("n3")
    cluster.boot("n3")
    cluster.settle()
    heir = node_of(cluster, "n3")
    assert (await heir.read()).reason == str(REASON)
    assert await heir.lift(**HEIR) is Drain.NONE


async def test_p4_the_heir_waits_for_a_restarted_controller_to_know_its_slurmd(cluster, free):
    await node_of(cluster, "n3").drain(REASON)
    cluster.controller_stop()
    cluster.controller_start()
    heir = node_of(cluster, "n3")
    with pytest.raises(SlurmUnavailable, match="slurmd has not registered yet"):
        await heir.lift(**HEIR)
    cluster.settle()
    assert await heir.lift(**HEIR) is Drain.NONE


async def test_a_dead_munged_is_unavailable(cluster, free):
    cluster.run("n3", ["pkill", "-STOP", "munged"], check=True)
    try:
        with pytest.raises(SlurmUnavailable):
            await node_of(cluster, "n3", seconds=3).read()
    finally:
        cluster.run("n3", ["pkill", "-CONT", "munged"], check=True)
    assert (await node_of(cluster, "n3").read()).name == "n3"


async def test_a_dropped_packet_is_not_waited_for_longer_than_the_time_limit(cluster, free):
    rule = ["OUTPUT", "-p", "tcp", "--dport", "6817", "-j", "DROP"]
    cluster.run("n2", ["iptables", "-A", *rule], check=True)
    loop = asyncio.get_running_loop()
    started = loop.time()
    try:
        with pytest.raises(SlurmUnavailable, match="no answer within 1 s"):
            await node_of(cluster, "n2", seconds=1).drain(REASON)
        assert loop.time() - started < 2
    finally:
        cluster.run("n2", ["iptables", "-D", *rule], check=True)
    assert await node_of(cluster, "n2").drain(REASON) is Drain.OURS


FIND_YOURSELF = """
    import asyncio, os, socket
    from concurrent.futures import ThreadPoolExecutor
    from agent.processes import SystemProcesses
    from agent.slurm.cluster import find_cluster
    from agent.slurm.command import Scontrol
    from agent.slurm.host import Host
    from agent.slurm.locate import find_node_name, find_scontrol

    async def find():
        host = Host(processes=SystemProcesses(), executor=ThreadPoolExecutor(1))
        program = await find_scontrol(host, path=os.environ["PATH"])
        scontrol = Scontrol(host.processes, program.value, seconds=1)
        name = await find_node_name(host, host_name=socket.gethostname(), scontrol=scontrol)
        cluster = await find_cluster(host, environ={}, scontrol=scontrol)
        print(program.how, name.value, name.how, cluster.how, cluster.value, sep="|")

    asyncio.run(find())
"""


def find_yourself(cluster):
    done = cluster.run("n2", [sys.executable, "-c", textwrap.dedent(FIND_YOURSELF)])
    assert done.returncode == 0, done.stderr
    return done.stdout.strip().split("|")


def test_a_node_finds_its_name_its_scontrol_and_its_cluster_by_itself(cluster):
    program, name, how, _, identity = find_yourself(cluster)
    assert (program, name, how) == ("beside the running slurmd", "n2", "-N of the running slurmd")
    assert re.fullmatch(r"lab-[0-9a-f]{8}", identity)


def test_p6_a_node_knows_its_cluster_without_the_controller(cluster):
    before = find_yourself(cluster)
    cluster.controller_stop()
    try:
        alone = find_yourself(cluster)
    finally:
        cluster.controller_start()
        cluster.settle()
    assert alone[-1] == before[-1]
    assert (before[-2], alone[-2]) == (
        "ClusterName and SlurmctldHost of slurmctld",
        "ClusterName and SlurmctldHost of /etc/slurm/slurm.conf",
    )
