"""The agent is killed, and told to end, at any moment of an evacuation on a real node (P7)."""

import json
import os
import signal
import time

import pytest

from tests.fakes.evacuating import (
    BYTES,
    FEW_STREAMS,
    NOWHERE,
    PART,
    STREAMS,
    checkpoint_of,
    copiers,
    data_bytes,
    listed,
    no_copier,
    planted,
    puts,
    records,
    slow_down,
    what_came_back,
)
from tests.fakes.lab import is_drained, metrics, sample, until
from tests.fakes.s3proxy import Kind

pytestmark = [pytest.mark.slurm, pytest.mark.s3]

IN_FLIGHT = 2 * STREAMS * PART
"""A copy of six parts may add streams once."""
"""Bytes that can be on their way, and so be sent again, at a kill."""
PAUSE = 0.04
"""Seconds that each request waits: a copy of the usual tree takes some two seconds."""
LEAVING = 12.0
"""Seconds in which a daemon that was told twice has to be gone, with the last commit."""


def reached(look):
    """A moment that shows by itself."""
    return lambda node, control: until(lambda: look(node, control), "the moment to kill", seconds=20, every=0.002)


def sent(share):
    return reached(lambda node, control: data_bytes(control) > share * BYTES)


def held(key, *, lost=0):
    """The moment in which the put of a key that holds `key` is under way, after `lost` of them went unheard."""

    def wait(node, control):
        until(lambda: hung(control, key), f"a put of {key} hangs", seconds=20, every=0.002)

    def prepare(control):
        if lost:
            control.fault(Kind.LOSE_REPLY, method="PUT", key=key, times=lost)
        control.fault(Kind.HANG, method="PUT", key=key)

    wait.prepare = prepare
    return wait


def hung(control, key):
    return [seen for seen in puts(control, key) if seen.fault == "hang"]


def asked(node, path):
    return any(path in one["path"] and one["status"] == 200 for one in node.imds.log())


MOMENTS = {
    "as the notice is read": reached(lambda node, control: asked(node, "spot/instance-action")),
    "as the node is drained": reached(lambda node, control: is_drained(node.cluster, node.name)),
    "as the copier comes up": reached(lambda node, control: copiers(node)),
    "with the first file stored": reached(lambda node, control: any(s.status == 200 for s in puts(control, "/data/"))),
    "after a third": sent(0.33),
    "after two thirds": sent(0.66),
    "with a segment under way": held("/seg-"),
    "with the head under way": held("/checkpoints/"),
    "with the head stored and unheard of": held("/checkpoints/", lost=1),
    "with the outcome under way": held("Z.json"),
}


@pytest.mark.parametrize("moment", MOMENTS, ids=lambda name: name.replace(" ", "-"))
def test_p7_killed_at_any_moment_it_goes_on_and_sends_again_what_was_in_flight(instance, proxy, moment):
    wait = MOMENTS[moment]
    n1 = instance("n1", endpoint=proxy.endpoint, settings=FEW_STREAMS)
    tree, size = planted(n1)
    getattr(wait, "prepare", lambda control: None)(proxy.control)
    slow_down(proxy.control, PAUSE)
    n1.imds.interrupt()
    wait(n1, proxy.control)
    n1.kill_agent()
    no_copier(n1)

    proxy.control.lift()
    n1.start_agent()
    status = n1.until_state("resting", seconds=40)
    assert (status["outcome"], status["drain"]) == ("COMPLETE", "ours")
    assert size <= data_bytes(proxy.control) <= size + IN_FLIGHT
    (found,) = listed(n1)
    assert (found["id"], found["complete"]) == (status["checkpoint"]["id"], True)
    assert what_came_back(n1, found["id"], tree) == []


def test_p7_a_restart_at_rest_stays_at_rest_and_sends_nothing(instance, proxy):
    n1 = instance("n1", endpoint=proxy.endpoint, settings=FEW_STREAMS)
    planted(n1, size=1_000_000)
    n1.imds.interrupt()
    before = n1.until_state("resting", seconds=30)
    n1.kill_agent()
    proxy.control.forget()
    n1.start_agent()
    time.sleep(2.5)  # polls, and the reconciliation
    after = n1.status()
    assert [after[name] for name in ("state", "outcome", "drain")] == ["resting", "COMPLETE", "ours"]
    assert after["notice"]["id"] == before["notice"]["id"]
    assert after["checkpoint"] == before["checkpoint"]
    assert sample(metrics(n1), "hpc_agent_last_checkpoint_complete") == 1
    assert proxy.control.log() == []


def test_p7_killed_again_and_again_it_still_ends_whole(instance, bucket, proxy):
    n2 = instance("n2", endpoint=proxy.endpoint, settings=FEW_STREAMS)
    tree, size = planted(n2)
    slow_down(proxy.control, 2 * PAUSE)
    n2.imds.interrupt()
    kills = 4
    for number in range(kills):
        seen = len(proxy.control.log())
        until(lambda seen=seen: len(proxy.control.log()) > seen + 10, "it sends again", seconds=20, every=0.01)
        time.sleep(0.15 * number)
        n2.kill_agent()
        no_copier(n2)
        n2.start_agent()
    status = n2.until_state("resting", seconds=40)
    assert status["outcome"] == "COMPLETE"
    assert size <= data_bytes(proxy.control) <= size + kills * IN_FLIGHT
    assert [record["format"] for record in records(n2, bucket)] == ["hpc-agent begun", "hpc-agent outcome"]
    assert what_came_back(n2, status["checkpoint"]["id"], tree) == []


def test_p7_a_copier_that_is_killed_is_started_again(instance, proxy):
    n3 = instance("n3", endpoint=proxy.endpoint, settings=FEW_STREAMS)
    tree, size = planted(n3)
    slow_down(proxy.control, 2 * PAUSE)
    n3.imds.interrupt()
    sent(0.6)(n3, proxy.control)
    (pid,) = copiers(n3)
    n3.cluster.run("n3", ["kill", "-9", pid], check=True)
    told = n3.until(lambda status: status["trouble"], "the death is told", seconds=30)
    assert "it died (-9)" in told["trouble"][0]["what"]
    status = n3.until_state("resting", seconds=30)
    assert (status["outcome"], status["trouble"]) == ("COMPLETE", [])
    assert size <= data_bytes(proxy.control) <= size + IN_FLIGHT
    assert what_came_back(n3, status["checkpoint"]["id"], tree) == []


def test_p2_killed_between_data_and_head_there_is_no_checkpoint(instance, proxy):
    n1 = instance("n1", endpoint=proxy.endpoint, settings=FEW_STREAMS)
    _, size = planted(n1, size=20_000_000)
    between = held("/checkpoints/")
    between.prepare(proxy.control)
    n1.imds.interrupt()
    between(n1, proxy.control)
    until(lambda: data_bytes(proxy.control) >= size, "all data is stored", seconds=30)
    n1.kill_agent()
    no_copier(n1)
    proxy.control.lift()
    name = checkpoint_of(proxy.control)
    assert listed(n1) == []
    for command in (("restore", name, "--to", "/tmp/back"), ("restore", name, "--any", "--to", "/tmp/back")):
        refused = n1.command(*command)
        assert (refused.returncode, refused.stdout) == (5, ""), refused.stderr
        assert name in refused.stderr
    assert not n1.cluster.inside("n1", "/tmp/back").exists()
    assert n1.command("verify", name).returncode == 5


def test_sigterm_during_an_evacuation_lets_it_go_on_to_its_end(instance, proxy):
    n2 = instance("n2", endpoint=proxy.endpoint, settings=FEW_STREAMS)
    tree, size = planted(n2)
    slow_down(proxy.control, 5 * PAUSE)
    n2.imds.interrupt()
    sent(0.3)(n2, proxy.control)
    n2._agent.terminate()
    time.sleep(0.5)
    assert n2.status()["state"] == "copying"
    assert n2._agent.wait(timeout=40) == 0
    no_copier(n2)
    assert "a second signal commits what is there" in n2.log.read_text()
    (found,) = listed(n2)
    assert found["complete"]
    assert data_bytes(proxy.control) == size
    assert puts(proxy.control, "Z.json")[-1].status == 200
    assert is_drained(n2.cluster, "n2")
    assert what_came_back(n2, found["id"], tree) == []


def test_a_second_sigterm_commits_what_is_there_and_leaves(instance, proxy):
    n3 = instance("n3", endpoint=proxy.endpoint, settings=FEW_STREAMS)
    tree, _ = planted(n3)
    slow_down(proxy.control, 0.5)
    hopeless = instance("n2", endpoint=NOWHERE)
    hopeless.imds.interrupt()
    n3.imds.interrupt()
    until(lambda: len(puts(proxy.control, "/data/")) > 8, "something is sent", seconds=30)
    for node in (n3, hopeless):
        node._agent.send_signal(signal.SIGTERM)
    time.sleep(0.3)
    for node in (n3, hopeless):
        node._agent.send_signal(signal.SIGTERM)
    told = time.monotonic()
    for node in (n3, hopeless):
        assert node._agent.wait(timeout=LEAVING + 5) == 0
        assert time.monotonic() - told < LEAVING
        no_copier(node)
    proxy.control.lift()
    (found,) = listed(n3)
    assert not found["complete"]
    assert 0 < found["files"] < len(tree)
    assert found["left_files"] > 0

    latest = ("restore", "--latest", "--node", "n3", "--cluster", found["cluster"], "--to", "/tmp/back", "--json")
    done = n3.command(*latest, "--any")
    assert done.returncode == 4, done.stderr
    told = json.loads(done.stdout)
    assert (told["checkpoint_id"], told["outcome"]) == (found["id"], "PARTIAL")
    assert (told["files"], told["left_files"]) == (found["files"], found["left_files"])
    n3.cluster.run("n3", ["rm", "-rf", "/tmp/back"], check=True)


def test_a_daemon_at_rest_leaves_at_the_first_sigterm(instance):
    n1 = instance("n1")
    n1._agent.send_signal(signal.SIGTERM)
    assert n1._agent.wait(timeout=5) == 0
    assert not os.path.lexists(n1.cluster.inside("n1", "/run/hpc-agent/agent.sock"))
