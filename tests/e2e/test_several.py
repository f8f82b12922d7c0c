"""Several notices at once on a real node: the earliest rules, the last one withdrawn gives the node back."""

from datetime import UTC, datetime, timedelta

import pytest

from tests.fakes.lab import is_drained, reason_of, until

pytestmark = [pytest.mark.slurm, pytest.mark.s3]

ADMIN = "memory errors, ticket 4711"


def spot(node, seconds):
    node.imds.interrupt("terminate", datetime.now(UTC) + timedelta(seconds=seconds))


def test_of_two_notices_the_one_that_is_left_keeps_the_node_drained_and_the_last_gives_it_back(cluster, instance):
    node = instance("n1")
    spot(node, 120)
    until(lambda: "spot-terminate" in reason_of(cluster, "n1"), "the drain for Spot", seconds=30)
    node.command("evacuate", "--deadline", "10m")
    node.imds.withdraw()
    until(lambda: "operator" in reason_of(cluster, "n1"), "the reason of the other notice", seconds=30)
    assert is_drained(cluster, "n1")
    node.command("cancel")
    until(lambda: not is_drained(cluster, "n1"), "the drain lifted", seconds=30)
    node.until_state("watching", seconds=30)


def test_p4_an_administrators_drain_between_two_notices_survives_both(cluster, instance):
    node = instance("n2")
    node.command("evacuate", "--deadline", "10m")
    until(lambda: "operator" in reason_of(cluster, "n2"), "our drain", seconds=30)
    spot(node, 120)
    until(lambda: "spot-terminate" in reason_of(cluster, "n2"), "the earlier notice rules", seconds=30)
    cluster.run("head", ["scontrol", "update", "NodeName=n2", "State=DRAIN", f"Reason={ADMIN}"], check=True)
    node.imds.withdraw()
    node.until(lambda status: status["drain"] == "theirs", "the drain is seen to be somebody else's", seconds=30)
    assert reason_of(cluster, "n2") == ADMIN
    node.command("cancel")
    node.until_state("watching", seconds=30)
    assert is_drained(cluster, "n2")
    assert reason_of(cluster, "n2") == ADMIN
