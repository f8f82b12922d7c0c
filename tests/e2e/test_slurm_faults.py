"""Slurm that is away or stuck costs neither data nor the drain: it is tried to the end (P6)."""

import contextlib

import pytest

from tests.fakes.lab import is_drained, metrics, reason_of, sample, scratch, state_of, until
from tests.fakes.trees import differences, picture, plant

pytestmark = [pytest.mark.slurm, pytest.mark.s3]

IMPATIENT = '[slurm]\ndrain_timeout = "2s"\nrequeue = false\n'
"""Without a word about the jobs the agent would wait for the last moment to stop them."""
"""scontrol itself waits 9 s for a slurmctld that refuses: shorter here, so that trouble shows sooner."""

BACK = 5.0
"""Seconds after Slurm is back within which the drain stands: the longest pause is 2 s, a try that was under way when it
came back ends by itself."""


@contextlib.contextmanager
def controller_down(cluster):
    cluster.controller_stop()
    try:
        yield
    finally:
        cluster.controller_start()


@contextlib.contextmanager
def controller_frozen(cluster):
    cluster.controller_freeze()
    try:
        yield
    finally:
        cluster.controller_thaw()


@contextlib.contextmanager
def munged_dead(cluster, node):
    """Without munged no command of this node can show who it is."""
    cluster.run(node, ["sh", "-c", "kill -KILL $(pidof munged); rm -f /run/munge/munge.socket.2*"], check=True)
    try:
        yield
    finally:
        munged = "setpriv --reuid munge --regid munge --init-groups munged"
        cluster.run(node, ["sh", "-c", f"{munged} --force >/dev/null 2>&1"], check=True)


def knows_slurm(node):
    node.until(lambda status: status["capabilities"]["slurm"]["on"], "Slurm is known", seconds=30)


def saved_without_slurm(node):
    """The status once everything is done that can be done without Slurm."""
    status = node.until_state("resting", seconds=30)
    assert status["outcome"] == "COMPLETE"
    assert status["drained_by_us"] is False
    trouble_with_scontrol(node)


def trouble_with_scontrol(node):
    def shown(status):
        return any("scontrol" in one["what"] for one in status["trouble"])

    node.until(shown, "trouble with scontrol", seconds=30)


def restored(node, to):
    done = node.command("restore", "--latest", "--node", node.name, "--to", to)
    assert done.returncode == 0, done.stderr
    return picture(node.cluster.inside(node.name, to))


def drained_soon(cluster, node):
    """Wait for our drain; it has to come while the node still has time."""
    until(lambda: is_drained(cluster, node.name), "DRAIN once Slurm is back", seconds=BACK)
    status = node.until(lambda status: status["drained_by_us"], "the agent knows", seconds=BACK)
    assert status["seconds_left"] > 0
    assert status["trouble"] == []
    assert node.instance_id in reason_of(cluster, node.name)


def test_p6_a_notice_while_slurmctld_is_down_saves_the_data_and_drains_when_it_is_back(cluster, instance):
    n1 = instance("n1", settings=IMPATIENT)
    knows_slurm(n1)
    plant(scratch(cluster, "n1") / "work")
    planted = picture(scratch(cluster, "n1"))
    with controller_down(cluster):
        n1.imds.interrupt()
        saved_without_slurm(n1)
        assert sample(metrics(n1), 'hpc_agent_drained{by="us"}') != 1
    drained_soon(cluster, n1)
    assert sample(metrics(n1), 'hpc_agent_drained{by="us"}') == 1
    assert differences(planted, restored(n1, "/tmp/back")) == []


def test_p6_a_notice_while_slurmctld_hangs_saves_the_data_and_drains_when_it_goes_on(cluster, instance):
    n2 = instance("n2", settings=IMPATIENT)
    knows_slurm(n2)
    plant(scratch(cluster, "n2") / "work")
    with controller_frozen(cluster):
        n2.imds.interrupt()
        saved_without_slurm(n2)
    drained_soon(cluster, n2)


def test_p6_a_notice_while_the_nodes_munged_is_dead_saves_the_data_and_drains_when_it_is_back(cluster, instance):
    n3 = instance("n3", settings=IMPATIENT)
    knows_slurm(n3)
    plant(scratch(cluster, "n3") / "work")
    with munged_dead(cluster, "n3"):
        n3.imds.interrupt()
        saved_without_slurm(n3)
        assert not is_drained(cluster, "n3")
    drained_soon(cluster, n3)


def test_p6_an_agent_started_while_slurmctld_is_down_saves_and_drains_like_any_other(cluster, instance):
    plant(scratch(cluster, "n1") / "work")
    n1 = instance("n1", settings=IMPATIENT, run=False)
    with controller_down(cluster):
        n1.start_agent()
        trouble_with_scontrol(n1)
        n1.imds.interrupt()
        saved_without_slurm(n1)
    drained_soon(cluster, n1)


def test_p6_a_withdrawal_while_slurmctld_is_down_lifts_the_drain_when_it_is_back(cluster, instance):
    n2 = instance("n2", settings=IMPATIENT)
    n2.imds.interrupt()
    until(lambda: is_drained(cluster, "n2"), "DRAIN", seconds=30)
    n2.until_state("resting", seconds=30)
    with controller_down(cluster):
        n2.imds.withdraw()
        n2.until_state("returning", seconds=30)
        trouble_with_scontrol(n2)
        assert n2.status()["state"] == "returning"
    until(lambda: not is_drained(cluster, "n2"), "the drain is lifted", seconds=BACK)
    n2.until_state("watching", seconds=BACK)
    until(lambda: state_of(cluster, "n2") == "IDLE", "the node takes jobs", seconds=30)
