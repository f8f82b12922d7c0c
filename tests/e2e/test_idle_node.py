"""A node that runs nothing, with files that nobody has saved, under a head node that ends what is drained and idle."""

import json
import time

import pytest

from tests.fakes.evacuating import FEW_STREAMS, in_seconds, planted, records, slow_down, stored
from tests.fakes.head_node import HeadNode
from tests.fakes.lab import is_drained, state_of, until

pytestmark = [pytest.mark.slurm, pytest.mark.s3, pytest.mark.slow]


def saved_bytes(node, bucket):
    """What the last head of the node's has, the only things that outlive it; None without a head."""
    text, heads = stored(node, bucket, f"{node.name}/AROASTAGE:{node.instance_id}/").decode(), []
    while text:
        head, end = json.JSONDecoder().raw_decode(text)
        heads.append(head)
        text = text[end:].lstrip()
    return max(((head["n"], head["totals"]["bytes"], head["complete"]) for head in heads), default=None)


def rescued(cluster, node, bucket, *, seconds=60.0, every=1.0, first=None):
    """Give the node notice under a head node; return how it went once the node is gone."""
    with HeadNode(cluster, every=every, first=first) as head:
        noticed = time.monotonic()
        node.imds.interrupt("terminate", in_seconds(seconds))
        until(lambda: is_drained(cluster, node.name), "DRAIN", seconds=10, every=0.02)
        drained = time.monotonic()
        until(lambda: node.name in head.ended, "the head node ends it", seconds=seconds)
        assert head.trouble == []
    return drained - noticed, head.ended[node.name] - drained, saved_bytes(node, bucket)


def test_an_idle_node_is_held_until_its_files_are_saved_and_then_goes(cluster, instance, bucket, proxy):
    node = instance("n1", settings=FEW_STREAMS, endpoint=proxy.endpoint)
    _, total = planted(node)
    slow_down(proxy.control, 0.5)
    to_drain, lived, saved = rescued(cluster, node, bucket)
    assert saved[1:] == (total, True)
    assert [one["outcome"] for one in records(node, bucket) if "outcome" in one] == ["COMPLETE"]
    assert to_drain < 3.5
    assert lived > 5  # it would have been ended within a second


def test_without_the_hold_it_is_ended_and_its_files_are_lost(cluster, instance, bucket, proxy):
    """So that the test above can fail."""
    node = instance("n1", settings=FEW_STREAMS + "[slurm]\nhold_idle = false\n", endpoint=proxy.endpoint)
    _, total = planted(node)
    slow_down(proxy.control, 0.5)
    _, lived, saved = rescued(cluster, node, bucket)
    assert lived < 3
    assert saved is None or saved[1] < total / 2


def test_a_hold_leaves_nothing_behind_when_the_notice_is_withdrawn(cluster, instance, proxy):
    node = instance("n1", settings=FEW_STREAMS, endpoint=proxy.endpoint)
    planted(node)
    slow_down(proxy.control, 0.5)
    node.imds.interrupt("terminate", in_seconds(100))
    until(lambda: "hpc-agent-hold" in cluster.run("head", ["squeue", "-h", "-o", "%j %N"]).stdout, "held", seconds=30)
    node.imds.withdraw()
    node.until_state("watching", seconds=30)
    until(lambda: state_of(cluster, "n1") == "IDLE", "it works again", seconds=30)
    assert cluster.run("head", ["squeue", "-h"]).stdout == ""
