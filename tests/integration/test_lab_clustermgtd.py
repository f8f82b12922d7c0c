"""The head node that tests are judged by: it ends a drained node that runs nothing, and no other."""

import pytest

from tests.fakes.head_node import HeadNode
from tests.fakes.lab import give_back, is_drained, submit, until

pytestmark = pytest.mark.slurm


@pytest.fixture
def nodes(cluster):
    yield "n2", "n3"
    for node in ("n2", "n3"):
        give_back(cluster, node)


def test_the_head_node_ends_what_is_drained_and_idle_and_leaves_a_node_with_a_job(cluster, nodes):
    idle, busy = nodes
    submit(cluster, busy, "sleep 300")
    with HeadNode(cluster, every=0.3) as head:
        until(lambda: head.looks > 1, "it looks", seconds=30)
        assert head.ended == {}
        cluster.run("head", ["scontrol", "update", f"NodeName={idle},{busy}", "State=DRAIN", "Reason=x"], check=True)
        until(lambda: head.ended, "the idle one is ended", seconds=30)
        seen = head.looks
        until(lambda: head.looks > seen + 2, "it goes on looking", seconds=30)
    assert list(head.ended) == [idle]
    assert is_drained(cluster, busy)
    assert head.trouble == []
