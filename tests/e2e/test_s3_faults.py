"""S3 fails during a real evacuation: the node is drained all the same, and what can be saved is saved (P6)."""

import re

import pytest

from tests.fakes.evacuating import (
    FEW_STREAMS,
    NOWHERE,
    in_seconds,
    listed,
    planted,
    puts,
    records,
    slow_down,
    what_came_back,
)
from tests.fakes.lab import is_drained, scratch, until
from tests.fakes.s3proxy import Kind
from tests.fakes.trees import plant

pytestmark = [pytest.mark.slurm, pytest.mark.s3]

DRAINED = 5.0
"""Seconds from a notice to DRAIN on a busy machine, as in test_notice.py."""
WINDOW = 22.0
"""Seconds of a short notice: just more than what the agent takes for "now" (agent.evacuation.plan.SHORT_WINDOW)."""


def drained(node):
    until(lambda: is_drained(node.cluster, node.name), "DRAIN", seconds=DRAINED)


def troubled(node, *, seconds=10.0):
    """Wait for a status that tells of trouble with a hint and return all that it tells of it."""
    status = node.until(lambda status: status["trouble"], "the status tells what is wrong", seconds=seconds)
    return " ".join(f"{one['what']} ({one['hint']})" for one in status["trouble"])


def test_p6_with_s3_down_at_the_notice_the_node_is_drained_and_uploads_go_on_when_it_is_back(cluster, instance, proxy):
    n1 = instance("n1", endpoint=proxy.endpoint, settings=FEW_STREAMS)
    tree, _ = planted(n1, size=10_000_000)
    proxy.control.fault(Kind.DOWN)
    n1.imds.interrupt()
    drained(n1)
    assert proxy.endpoint in troubled(n1)
    assert n1.status()["state"] == "copying"
    proxy.control.lift()
    status = n1.until_state("resting", seconds=30)
    assert (status["outcome"], status["trouble"]) == ("COMPLETE", [])
    assert what_came_back(n1, status["checkpoint"]["id"], tree) == []


def test_p6_with_the_s3_server_gone_in_the_middle_the_copy_goes_on_where_it_was(cluster, instance, bucket, proxy):
    n2 = instance("n2", endpoint=proxy.endpoint, settings=FEW_STREAMS)
    tree, _ = planted(n2, size=20_000_000)
    slow_down(proxy.control, 0.1)
    n2.imds.interrupt()
    until(lambda: len(puts(proxy.control, "/data/")) > 8, "something is sent", seconds=30)
    bucket.stop()
    try:
        assert troubled(n2)
    finally:
        bucket.start()
    proxy.control.lift()
    status = n2.until_state("resting", seconds=30)
    assert status["outcome"] == "COMPLETE"
    assert what_came_back(n2, status["checkpoint"]["id"], tree) == []


def data_of(node):
    """What the keys hold under which a node stores its files."""
    return f"/data/AROASTAGE:{node.instance_id}/"


def refuse_all(control, node):
    for method in ("PUT", "POST"):
        control.fault(Kind.ANSWER, method=method, key=data_of(node), status=403, code="AccessDenied")


def break_now_and_then(control, node):
    """Every kind of fault, a few times each."""
    data = data_of(node)
    control.fault(Kind.HANG, method="PUT", key=data, times=2)
    control.fault(Kind.COMPLETE_ERROR, key=data, times=1)
    control.fault(Kind.LOSE_REPLY, method="POST", key=data, times=2)
    for _ in range(3):
        control.fault(Kind.ANSWER, method="PUT", key=data, times=6)
        control.fault(Kind.RESET, method="PUT", key=data, times=2, after=50_000)
        control.fault(Kind.LOSE_REPLY, method="PUT", key=data, times=3)
        control.fault(Kind.ANSWER, method="PUT", key=data, status=500, code="InternalError", times=2)


def test_p6_p10_each_node_makes_the_best_of_its_s3_and_says_why_when_that_is_nothing(cluster, instance, bucket, proxy):
    unreachable = instance("n1", endpoint=NOWHERE)
    refused = instance("n2", endpoint=proxy.endpoint)
    annoyed = instance(
        "n3", endpoint=proxy.endpoint, settings=FEW_STREAMS.replace("connections = 2", "connections = 8")
    )
    refuse_all(proxy.control, refused)
    break_now_and_then(proxy.control, annoyed)
    for node in (unreachable, refused):
        plant(scratch(cluster, node.name) / "work")
    tree, _ = planted(annoyed)
    annoyed.imds.interrupt()
    for node in (unreachable, refused):
        node.imds.interrupt("terminate", in_seconds(WINDOW))
    for node in (unreachable, refused, annoyed):
        drained(node)

    ends = [node.until_state("resting", seconds=WINDOW + 10) for node in (unreachable, refused)]
    for end in ends:
        assert (end["outcome"], end["drain"], end["seconds_left"] > -5) == ("NOTHING", "ours", True)
    why = [" ".join(f"{one['what']} ({one['hint']})" for one in end["trouble"]) for end in ends]
    assert NOWHERE in why[0]
    assert re.search("AccessDenied.*s3:PutObject", why[1])
    assert listed(refused) == []
    assert records(unreachable, bucket) == []
    begun, outcome = records(refused, bucket)
    assert (begun["format"], begun["checkpoint"]) == ("hpc-agent begun", outcome["checkpoint"])
    assert (outcome["outcome"], outcome["head"], outcome["drain"]) == ("NOTHING", None, "ours")
    assert re.search("AccessDenied", " ".join(outcome["trouble"]))

    end = annoyed.until_state("resting", seconds=40)
    assert (end["outcome"], end["trouble"]) == ("COMPLETE", [])
    met = {seen.fault for seen in proxy.control.log()}
    assert {"answer", "reset", "hang", "lose-reply", "complete-error"} <= met
    assert what_came_back(annoyed, end["checkpoint"]["id"], tree) == []


def test_p2_a_head_whose_reply_was_lost_is_committed_once(cluster, instance, proxy):
    n1 = instance("n1", endpoint=proxy.endpoint)
    tree, _ = planted(n1, size=1_000_000)
    proxy.control.fault(Kind.LOSE_REPLY, method="PUT", key="/checkpoints/", times=1)
    n1.imds.interrupt()
    status = n1.until_state("resting", seconds=30)
    assert status["outcome"] == "COMPLETE"
    first, again = puts(proxy.control, "/checkpoints/")
    assert (first.key, first.fault, again.status) == (again.key, "lose-reply", 412)
    (found,) = listed(n1)
    said = status["checkpoint"]
    assert [found[name] for name in ("id", "key", "digest", "n")] == [said[n] for n in ("id", "key", "digest", "n")]
    assert what_came_back(n1, found["id"], tree) == []


def test_p6_credentials_that_come_late_are_taken_when_they_come(cluster, instance, bucket):
    n2 = instance("n2", run=False)
    tree, _ = planted(n2, size=1_000_000)
    n2.imds.set("meta-data/iam/security-credentials/hpc-node", None)
    n2.start_agent()
    n2.imds.interrupt()
    drained(n2)
    assert re.search("credentials.*instance profile", troubled(n2, seconds=15))
    n2.imds.credentials(bucket.access_key, bucket.secret_key, "")
    status = n2.until_state("resting", seconds=30)
    assert (status["outcome"], status["trouble"]) == ("COMPLETE", [])
    assert what_came_back(n2, status["checkpoint"]["id"], tree) == []
