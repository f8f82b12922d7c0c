"""The main job: a notice drains the node, its scratch is saved and comes back elsewhere; how notices come and go."""

import re
import time
from datetime import UTC, datetime, timedelta

import pytest

from agent.clock import parse_stamp
from tests.fakes.lab import (
    is_drained,
    job_state,
    metrics,
    reason_of,
    sample,
    scratch,
    state_of,
    submit,
    until,
)
from tests.fakes.trees import differences, picture, plant

pytestmark = [pytest.mark.slurm, pytest.mark.s3]

ALLOWED = 5.0
"""Seconds from a notice to DRAIN on a busy machine; `make notices` measures how long it takes really."""

FILES, BYTES = 3000, 300_000_000


def in_seconds(seconds):
    return datetime.now(UTC) + timedelta(seconds=seconds)


def reason(kind, instance, ends_at):
    return rf"hpc-agent: {kind} {instance.instance_id} boot=[0-9a-f]{{8}} until={ends_at:%Y-%m-%dT%H:%M:%SZ}"


def test_p1_p2_a_notice_drains_the_node_and_its_scratch_comes_back_identical_on_another(cluster, instance):
    n1, n2 = (instance(name, settings="[slurm]\nrequeue = false\n") for name in ("n1", "n2"))
    for node in ("n1", "n2"):
        cluster.run(node, ["mount", "-o", "remount,size=700m", "/scratch"], check=True)
    plant(scratch(cluster, "n1") / "work", files=FILES, size=BYTES)
    planted = picture(scratch(cluster, "n1"))
    files = [seen for seen in planted.values() if seen[0] == "file"]
    assert len(files) >= FILES
    assert sum(seen[6] for seen in files) >= 0.95 * BYTES
    job = submit(cluster, "n1", "sleep 300")

    ends_at = in_seconds(120)
    appeared = n1.imds.interrupt("terminate", ends_at)["mono"]
    until(lambda: is_drained(cluster, "n1"), "DRAIN", seconds=ALLOWED, every=0.01)
    assert time.monotonic() - appeared < ALLOWED
    assert re.fullmatch(reason("spot-terminate", n1, ends_at), reason_of(cluster, "n1"))
    status = n1.until_state("resting", seconds=60)
    assert (status["outcome"], status["checkpoint"]["files"]) == ("COMPLETE", len(files))
    assert status["seconds_left"] > 0
    assert job_state(cluster, job) == "RUNNING"
    assert state_of(cluster, "n1") in {"MIXED+DRAIN", "ALLOCATED+DRAIN"}

    cluster.kill("n1")
    cluster.boot("n1")
    assert not picture(scratch(cluster, "n1"))
    restored = n2.command("restore", "--latest", "--node", "n1", "--to", "/scratch/back", "--json")
    assert restored.returncode == 0, restored.stderr
    assert differences(planted, picture(scratch(cluster, "n2") / "back")) == []


@pytest.mark.parametrize(
    ("action", "kind"),
    [
        ("stop", "spot-stop"),
        ("hibernate", "spot-hibernate"),
        ("defenestrate", "spot-terminate"),
    ],
)
def test_each_action_of_a_notice_is_named_in_the_reason_an_unknown_one_counts_as_terminate(
    cluster, instance, action, kind
):
    n1 = instance("n1")
    ends_at = in_seconds(120)
    n1.imds.interrupt(action, ends_at)
    until(lambda: is_drained(cluster, "n1"), "DRAIN", seconds=ALLOWED)
    assert re.fullmatch(reason(kind, n1, ends_at), reason_of(cluster, "n1"))
    assert n1.until_state("resting", seconds=30)["notice"]["kind"] == kind


def test_p4_a_withdrawn_notice_gives_the_node_back_and_the_agent_watches_on(cluster, instance):
    n2 = instance("n2")
    n2.imds.interrupt()
    until(lambda: is_drained(cluster, "n2"), "DRAIN", seconds=ALLOWED)
    n2.imds.withdraw()
    until(lambda: not is_drained(cluster, "n2"), "the drain is lifted", seconds=ALLOWED)
    status = n2.until_state("watching", seconds=ALLOWED)
    assert (status["drain"], status["notice"], status["deadline"]) == ("none", None, None)
    n2.imds.interrupt()
    until(lambda: is_drained(cluster, "n2"), "DRAIN after the second notice", seconds=ALLOWED)


def test_a_notice_that_changes_its_time_is_the_same_notice_and_changes_the_reason(cluster, instance):
    n3 = instance("n3")
    first, second = in_seconds(110), in_seconds(300)
    n3.imds.interrupt("terminate", first)
    until(lambda: is_drained(cluster, "n3"), "DRAIN", seconds=ALLOWED)
    before = n3.until_state("resting", seconds=30)
    n3.imds.interrupt("terminate", second)
    new = re.compile(reason("spot-terminate", n3, second))
    until(lambda: new.fullmatch(reason_of(cluster, "n3")), "the reason says the new time", seconds=ALLOWED)
    after = n3.status()
    assert parse_stamp(after["deadline"]) == second.replace(microsecond=0)
    assert after["notice"]["id"] == before["notice"]["id"]
    assert after["checkpoint"]["id"] == before["checkpoint"]["id"]
    assert sample(metrics(n3), 'hpc_agent_notices_total{kind="spot-terminate"}') == 1


def test_p5_a_notice_long_past_when_first_seen_is_shown_and_not_acted_on(cluster, instance):
    n1 = instance("n1")
    n1.imds.interrupt("terminate", in_seconds(-301))
    status = n1.until(lambda status: status["notice"] is not None, "the notice is shown", seconds=ALLOWED)
    assert status["notice"]["stale"]
    time.sleep(2.5)  # two more looks
    status = n1.status()
    assert (status["state"], status["deadline"], is_drained(cluster, "n1")) == ("watching", None, False)
    assert sample(metrics(n1), 'hpc_agent_notice_active{kind="spot-terminate"}') == 0


def test_a_notice_a_little_past_means_now(cluster, instance):
    n2 = instance("n2")
    plant(scratch(cluster, "n2") / "work")
    n2.imds.interrupt("terminate", in_seconds(-200))
    until(lambda: is_drained(cluster, "n2"), "DRAIN", seconds=ALLOWED)
    status = n2.until_state("resting", seconds=30)
    assert (status["outcome"], status["notice"]["stale"]) == ("COMPLETE", False)


def test_p8_any_user_may_ask_for_the_status_but_only_root_may_evacuate(cluster, instance):
    n3 = instance("n3")
    asked = n3.command("status", user="alice")
    assert asked.returncode == 0, asked.stderr
    assert asked.stdout.startswith("WATCHING\n")
    for order in ("evacuate", "cancel", "checkpoint"):
        refused = n3.command(order, user="alice")
        assert (refused.returncode, refused.stdout) == (1, ""), order
        assert re.search(r"this is for root, not for uid 4242 \(use sudo\)\n$", refused.stderr), refused.stderr
    assert n3.status()["state"] == "watching"
    assert not is_drained(cluster, "n3")


def test_an_operator_evacuates_the_node_and_takes_it_back(cluster, instance):
    n3 = instance("n3")
    n3.until_state("watching", seconds=30)  # it knows by then which instance it is
    plant(scratch(cluster, "n3") / "work")
    told = n3.command("evacuate", "--deadline", "3m")
    assert told.returncode == 0, told.stderr
    status = n3.until_state("resting", seconds=30)
    assert (status["outcome"], status["notice"]["kind"]) == ("COMPLETE", "operator")
    assert 100 < status["seconds_left"] < 180
    assert re.fullmatch(reason("operator", n3, parse_stamp(status["deadline"])), reason_of(cluster, "n3"))
    assert n3.command("cancel").returncode == 0
    n3.until_state("watching", seconds=ALLOWED)
    assert not is_drained(cluster, "n3")


def test_what_prometheus_scrapes_tells_the_evacuation_and_lints(cluster, instance):
    n1 = instance("n1")
    n1.until_state("watching", seconds=30)
    before = metrics(n1)
    assert sample(before, "hpc_agent_state") == 0
    assert sample(before, 'hpc_agent_drained{by="us"}') != 1
    ends_at = in_seconds(120).replace(microsecond=0)
    n1.imds.interrupt("terminate", ends_at)
    n1.until_state("resting", seconds=30)
    after = metrics(n1)
    said = {
        "hpc_agent_state": 5,
        'hpc_agent_state_info{state="resting"}': 1,
        'hpc_agent_notice_active{kind="spot-terminate"}': 1,
        'hpc_agent_notices_total{kind="spot-terminate"}': 1,
        "hpc_agent_deadline_timestamp_seconds": ends_at.timestamp(),
        'hpc_agent_drained{by="us"}': 1,
        'hpc_agent_drained{by="others"}': 0,
        'hpc_agent_evacuations_total{outcome="complete"}': 1,
        'hpc_agent_capability{name="slurm"}': 1,
        "hpc_agent_last_checkpoint_complete": 1,
    }
    assert {series: sample(after, series) for series in said} == said
    assert 0 < sample(after, "hpc_agent_drain_seconds") < ALLOWED
    lint = cluster.run("n1", ["sh", "-c", "curl -sS 127.0.0.1:9732/metrics | promtool check metrics"])
    assert (lint.returncode, lint.stdout, lint.stderr) == (0, "", "")
