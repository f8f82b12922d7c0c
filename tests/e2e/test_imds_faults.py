"""Unknown is not a notice (P5): an IMDS that fails in any way drains nothing, and is heard again when it recovers."""

import time

import pytest

from agent.demo.imds import Fault
from tests.fakes.lab import entered, is_drained, metrics, reason_of, sample, until

pytestmark = [pytest.mark.slurm, pytest.mark.s3]

TWO_POLLS = 2.0
FAULTS = {
    Fault.UNAUTHORIZED: "unauthorized",
    Fault.FORBIDDEN: "forbidden",
    Fault.ERROR: "server-error",
    Fault.UNAVAILABLE: "server-error",
    Fault.GARBAGE: "garbage",
    Fault.TRUNCATED: "garbage",
    Fault.HANG: "timeout",
    Fault.REFUSE: "refused",
}
"""What is wrong, and how the metric names it."""


def failures(node, fault):
    return sample(metrics(node), f'hpc_agent_imds_requests_total{{outcome="{FAULTS[fault]}"}}')


def asked_twice_more(node, fault):
    """Wait until the agent has met the fault two more times."""
    before = failures(node, fault)
    until(lambda: failures(node, fault) >= before + 2, f"two more looks at {fault}", seconds=8, every=0.3)


def started(instance, faults):
    """An instance for each fault, all at once: most of these tests is waiting for polls."""
    nodes = {fault: instance(f"n{number}") for number, fault in enumerate(faults, 1)}
    for node in nodes.values():
        node.until(lambda status: status["capabilities"]["imds"]["on"], "IMDS is known", seconds=30)
    return nodes


@pytest.mark.parametrize(
    "faults",
    [
        (Fault.UNAUTHORIZED, Fault.FORBIDDEN, Fault.ERROR),
        (Fault.UNAVAILABLE, Fault.GARBAGE, Fault.TRUNCATED),
        (Fault.HANG, Fault.REFUSE),
    ],
    ids="-".join,
)
def test_p5_a_failing_imds_drains_nothing_and_its_notice_is_seen_within_two_polls_of_recovery(
    cluster, instance, faults
):
    nodes = started(instance, faults)
    for fault, node in nodes.items():
        node.imds.fault(fault)
    for fault, node in nodes.items():
        until(lambda node=node, fault=fault: failures(node, fault), f"a look at {fault}", seconds=5, every=0.3)
        assert (node.status()["state"], is_drained(cluster, node.name)) == ("watching", False), fault
        node.imds.interrupt()
    for fault, node in nodes.items():
        asked_twice_more(node, fault)
        status, scraped = node.status(), metrics(node)
        assert (status["state"], status["notice"], is_drained(cluster, node.name)) == ("watching", None, False), fault
        assert status["capabilities"]["imds"]["on"] is False, fault
        assert any("spot is unknown" in one["what"] for one in status["trouble"]), fault
        assert sample(scraped, 'hpc_agent_capability{name="imds"}') == 0, fault
        assert sample(scraped, 'hpc_agent_source_failures_total{source="spot"}') >= 2, fault
        assert sample(scraped, "hpc_agent_trouble") >= 1, fault
    recovered = {fault: node.imds.fault(None)["mono"] for fault, node in nodes.items()}
    for fault, node in nodes.items():
        until(lambda node=node: is_drained(cluster, node.name), "DRAIN", seconds=30)
        assert node.until_state("resting", seconds=30)["capabilities"]["imds"]["on"] is True, fault
        assert entered(node, "draining") - recovered[fault] < TWO_POLLS + 0.5, fault


def test_the_first_scrape_after_imds_failed_says_so(instance):
    node = started(instance, (Fault.FORBIDDEN,))[Fault.FORBIDDEN]
    assert sample(metrics(node), 'hpc_agent_capability{name="imds"}') == 1
    node.imds.fault(Fault.FORBIDDEN)
    time.sleep(TWO_POLLS + 0.5)  # nobody looks meanwhile
    assert sample(metrics(node), 'hpc_agent_capability{name="imds"}') == 0


def test_p5_an_imds_that_fails_during_an_evacuation_withdraws_nothing(cluster, instance):
    nodes = started(instance, (Fault.UNAUTHORIZED, Fault.TRUNCATED, Fault.REFUSE))
    for node in nodes.values():
        node.imds.interrupt()
    reasons = {}
    for fault, node in nodes.items():
        node.until_state("resting", seconds=30)
        reasons[fault] = reason_of(cluster, node.name)
        node.imds.fault(fault)
    for fault, node in nodes.items():
        asked_twice_more(node, fault)
        status = node.status()
        assert (status["state"], status["drained_by_us"]) == ("resting", True), fault
        assert status["seconds_left"] > 0, fault
        assert is_drained(cluster, node.name), fault
        node.imds.fault(None)
    for fault, node in nodes.items():
        node.until(lambda status: status["capabilities"]["imds"]["on"], "IMDS is well", seconds=30)
        assert reason_of(cluster, node.name) == reasons[fault]
        assert node.status()["state"] == "resting", fault
        node.imds.withdraw()
    for node in nodes.values():
        node.until_state("watching", seconds=30)
        assert not is_drained(cluster, node.name)


@pytest.mark.parametrize("fault", [Fault.FORBIDDEN, Fault.REFUSE])
def test_p5_an_agent_that_starts_without_imds_drains_nothing_and_hears_of_a_notice_when_it_is_back(
    cluster, instance, fault
):
    n3 = instance("n3", run=False)
    n3.imds.fault(fault)
    n3.imds.interrupt()
    n3.start_agent()
    n3.until(lambda status: status["capabilities"]["imds"]["on"] is False, "IMDS is off", seconds=30)
    asked_twice_more(n3, fault)
    assert not is_drained(cluster, "n3")
    assert n3.status()["notice"] is None
    recovered = n3.imds.fault(None)["mono"]
    n3.until_state("resting", seconds=30)
    assert entered(n3, "draining") - recovered < TWO_POLLS + 0.5
    assert n3.instance_id in reason_of(cluster, "n3")
