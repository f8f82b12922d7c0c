"""Whose drain it is (P4): only our own is ever lifted, at the right time, and nobody's reason is written over.

A machine that outlives its deadline goes back to watching after ten minutes: too long to wait for here, so that it is
played in simulated time (tests/unit/daemon/test_evacuation.py).
"""

import json
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta

import pytest

from tests.fakes.lab import entered, is_drained, reason_of, until

pytestmark = [pytest.mark.slurm, pytest.mark.s3]

ADMIN = "memory errors, ticket 4711"
WATCH = """
import json, subprocess, sys, time
show = ["scontrol", "show", "node", "-o", sys.argv[1]]
seen, looks = set(), 0
print("looking", flush=True)
while sys.stdin.readable() and not __import__("select").select([sys.stdin], [], [], 0)[0]:
    record = subprocess.run(show, capture_output=True, text=True).stdout
    state = record.partition(" State=")[2].partition(" ")[0]
    reason = record.partition(" Reason=")[2].partition(" [")[0]
    seen.add((state, reason))
    looks += 1
print(json.dumps([looks, sorted(seen)]))
"""


def drain_as_admin(cluster, node, reason):
    cluster.run("head", ["scontrol", "update", f"NodeName={node}", "State=DRAIN", f"Reason={reason}"], check=True)


class Watch:
    """Looks at a node on the head as fast as scontrol goes; `seen` is what was seen after the context."""

    def __init__(self, cluster, node):
        self._cluster, self._node = cluster, node
        self.seen = []

    def __enter__(self):
        command = [sys.executable, "-c", WATCH, self._node]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        self._process = self._cluster.popen("head", command, **pipes)
        assert self._process.stdout.readline() == "looking\n"
        return self

    def __exit__(self, *_):
        out, _ = self._process.communicate("enough\n", timeout=10)
        looks, self.seen = json.loads(out)
        assert looks >= 20, looks


def test_p4_an_administrators_drain_stands_untouched_through_a_notice_and_its_withdrawal(cluster, instance):
    drain_as_admin(cluster, "n1", ADMIN)
    n1 = instance("n1")
    n1.until_state("watching", seconds=30)
    with Watch(cluster, "n1") as watch:
        n1.imds.interrupt()
        status = n1.until_state("resting", seconds=30)
        assert (status["drain"], status["drained_by_us"]) == ("theirs", False)
        n1.imds.withdraw()
        n1.until_state("watching", seconds=30)
    assert watch.seen == [["IDLE+DRAIN", ADMIN]]


def test_p4_a_drain_that_an_administrator_has_taken_over_is_not_lifted(cluster, instance):
    n2 = instance("n2")
    n2.imds.interrupt()
    n2.until_state("resting", seconds=30)
    drain_as_admin(cluster, "n2", ADMIN)
    n2.imds.withdraw()
    n2.until_state("watching", seconds=30)
    assert (is_drained(cluster, "n2"), reason_of(cluster, "n2")) == (True, ADMIN)


@pytest.mark.parametrize(
    "reason",
    [
        pytest.param("hpc-agent: spot-terminate i-0dead boot=0123abcd until=2026-01-01T00:00:00Z", id="long-past"),
        pytest.param("hpc-agent: spot-terminate i-0dead boot=0123abcd until=2999-01-01T00:00:00Z", id="to-come"),
        pytest.param("hpc-agent: drill i-0dead boot=0123abcd until=2999-01-01T00:00:00Z", id="unknown-kind"),
    ],
)
def test_a_drain_that_a_dead_predecessor_left_is_lifted_at_start(cluster, instance, reason):
    drain_as_admin(cluster, "n3", reason)
    n3 = instance("n3")
    until(lambda: not is_drained(cluster, "n3"), "the drain is lifted", seconds=30)
    n3.until_state("watching", seconds=30)


@pytest.mark.parametrize(
    "reason",
    ["hpc-agent: please leave alone", "hpc-agent", "Hpc-agent: drill - boot=0123abcd until=2026-01-01T00:00:00Z"],
)
def test_p4_a_reason_that_only_looks_like_ours_is_somebody_elses(cluster, instance, reason):
    drain_as_admin(cluster, "n3", reason)
    n3 = instance("n3")
    n3.until_state("watching", seconds=30)
    assert (is_drained(cluster, "n3"), reason_of(cluster, "n3")) == (True, reason)


def test_p7_an_agent_started_again_after_its_notice_went_lifts_its_drain(cluster, instance):
    n1 = instance("n1")
    n1.imds.interrupt()
    n1.until_state("resting", seconds=30)
    n1.kill_agent()
    n1.imds.withdraw()
    assert is_drained(cluster, "n1")
    n1.start_agent()
    until(lambda: not is_drained(cluster, "n1"), "the drain is lifted", seconds=30)
    n1.until_state("watching", seconds=30)


@pytest.mark.parametrize("journal", ["kept", "lost"])
def test_p7_an_agent_started_again_under_its_notice_keeps_its_drain_all_the_time(cluster, instance, journal):
    n2 = instance("n2")
    n2.imds.interrupt()
    before = n2.until_state("resting", seconds=30)
    reason = reason_of(cluster, "n2")
    n2.kill_agent()
    if journal == "lost":
        cluster.run("n2", ["rm", "-r", "/var/lib/hpc-agent"], check=True)
    with Watch(cluster, "n2") as watch:
        n2.start_agent()
        status = n2.until(lambda status: status["drained_by_us"] and status["notices"], "it knows again", seconds=30)
        status = n2.until_state("resting", seconds=30)
    assert watch.seen == [["IDLE+DRAIN", reason]]
    assert status["deadline"] == before["deadline"]


@pytest.mark.parametrize("journal", ["kept", "lost"])
def test_p5_p7_an_agent_started_again_while_imds_is_away_keeps_its_drain_until_it_knows(cluster, instance, journal):
    n3 = instance("n3")
    n3.imds.interrupt()
    n3.until_state("resting", seconds=30)
    reason = reason_of(cluster, "n3")
    n3.kill_agent()
    if journal == "lost":
        cluster.run("n3", ["rm", "-r", "/var/lib/hpc-agent"], check=True)
    n3.imds.fault("503")
    with Watch(cluster, "n3") as watch:
        n3.start_agent()
        n3.until(lambda status: status["capabilities"]["imds"]["on"] is False, "IMDS is off", seconds=30)
        time.sleep(3)
        assert is_drained(cluster, "n3")
    assert watch.seen == [["IDLE+DRAIN", reason]]
    n3.imds.withdraw()
    n3.imds.fault(None)
    until(lambda: not is_drained(cluster, "n3"), "the drain is lifted once IMDS says so", seconds=30)
    n3.until_state("watching", seconds=30)


def test_a_deadline_that_passes_leaves_a_finished_evacuation_at_rest(cluster, instance):
    n1 = instance("n1")
    n1.imds.interrupt("terminate", datetime.now(UTC) + timedelta(seconds=2))
    n1.until_state("resting", seconds=30)
    began = entered(n1, "draining")
    n1.until(lambda status: status["seconds_left"] < -1, "the deadline is past", seconds=30)
    status = n1.status()
    assert (status["state"], status["drained_by_us"], status["trouble"]) == ("resting", True, [])
    n1.kill_agent()
    n1.start_agent()
    n1.until_state("resting", seconds=30)
    time.sleep(1.5)  # a look at IMDS, where the notice still stands
    assert n1.status()["state"] == "resting"
    assert entered(n1, "draining") == began, "it has not begun again"
