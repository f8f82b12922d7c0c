"""In which order a job is stopped, saved, committed and given back: on real Slurm, by its own clock."""

import contextlib
import re
import threading
import time
from datetime import UTC, datetime

import pytest

from agent.clock import parse_stamp
from tests.fakes import counting
from tests.fakes.counting import SCRIPT_NAME, went_on
from tests.fakes.evacuating import no_copier, records
from tests.fakes.lab import is_drained, job_state, scratch, until
from tests.fakes.s3proxy import Kind
from tests.fakes.site import in_seconds, opened

pytestmark = [pytest.mark.slurm, pytest.mark.s3, pytest.mark.slow]

WINDOW = 24.0


@contextlib.contextmanager
def impatient(cluster, job):
    """Somebody who has the job start at once whenever it waits; nothing but the agent's order holds it back."""
    over = threading.Event()

    def hurry():
        while not over.wait(0.1):
            cluster.run("head", ["scontrol", "update", f"JobId={job}", "StartTime=now"])

    thread = threading.Thread(target=hurry)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def shown_time(cluster, job, field):
    found = re.search(rf" {field}=(\S+)", cluster.run("head", ["scontrol", "show", "job", job]).stdout)
    return datetime.fromisoformat(found[1]).astimezone(UTC)


def begun(cluster, script):
    """Submit a job of alice's; return it and its node once it counts."""
    (cluster.shared / "home" / SCRIPT_NAME).write_text(counting.SCRIPT)
    command = ["sbatch", "--parsable", "-D", "/shared/home", "-o", "/dev/null", "--wrap", script]
    job = cluster.run("head", command, user="alice", check=True).stdout.strip()
    until(lambda: counting.lives(cluster.shared / "home", job), "it counts", seconds=30)
    return job, cluster.run("head", ["squeue", "-hj", job, "-o", "%N"], check=True).stdout.strip()


@pytest.mark.parametrize("ignores_term", [False, True])
def test_p2_without_prolog_and_epilog_a_job_does_not_start_before_its_files_are_committed(
    cluster, instance, bucket, ignores_term
):
    """The plain cluster: neither is installed."""
    script = f"{'trap : TERM; ' if ignores_term else ''}bash /shared/home/{SCRIPT_NAME}"
    job, name = begun(cluster, script)
    doomed = instance(name)
    with impatient(cluster, job):
        doomed.imds.interrupt("terminate", in_seconds(WINDOW))
        status = doomed.until_state("resting", seconds=WINDOW + 10)
        until(lambda: len(counting.lives(cluster.shared / "home", job)) == 2, "its second life", seconds=30)
    assert (status["outcome"], status["jobs"]["requeued"]) == ("COMPLETE", 1), status
    outcome = records(doomed, bucket)[-1]
    assert {"stopping", "delta", "committing", "releasing"} <= set(outcome["seconds"])
    committed = parse_stamp(status["checkpoint"]["created_at"])
    assert shown_time(cluster, job, "StartTime") >= committed.replace(microsecond=0)
    assert shown_time(cluster, job, "SubmitTime") >= committed.replace(microsecond=0)
    back = doomed.command("restore", status["checkpoint"]["id"], "--to", "/tmp/back", "--json")
    assert back.returncode == 0, back.stderr
    kept = (cluster.inside(name, "/tmp/back") / job / "steps").read_text().splitlines()
    assert [line.split()[1] for line in kept] == [str(number) for number in range(1, len(kept) + 1)]
    first = counting.lives(cluster.shared / "home", job)[0]
    assert len(kept) >= first.did - 1


def test_p2_parallel_epilogs_and_prolog_flags_serial_do_not_wait_for_each_other_for_ever(tmp_path):
    """Serial: one Prolog or Epilog at a time on a node; the first to wait for the commit keeps the others out."""
    with opened(tmp_path, 2, conf="PrologFlags=Serial\n") as site:
        jobs = [site.submit("-w", "n1", SCRIPT_NAME) for _ in range(3)]
        doomed = site.agent("n1")
        for job in jobs:
            site.stepped(job)
        ends_at = in_seconds(WINDOW)
        doomed.imds.interrupt("terminate", ends_at)
        status = doomed.until_state("resting", seconds=WINDOW + 10)
        assert (status["outcome"], status["jobs"]["requeued"]) == ("COMPLETE", 3), status
        for job in jobs:
            until(lambda one=job: job_state(site.cluster, one) == "PENDING", f"{job}'s Epilog ends", seconds=30)
        assert datetime.now(UTC) < ends_at
        assert (scratch(site.cluster, "n1") / jobs[0]).exists()
        for job in jobs:
            site.start(job, "n2")
        for job in jobs:
            site.ended(job)
            assert went_on(found := site.said(job)), found
            assert found[1].restore == "complete"
        doomed.end()


@pytest.fixture
def frozen(cluster, instance, proxy):
    """A node whose job is stopped where it is while the last delta does not come through: node, job, said."""
    job, name = begun(cluster, f"bash /shared/home/{SCRIPT_NAME}")
    doomed = instance(name, endpoint=proxy.endpoint)
    doomed.imds.interrupt("terminate", in_seconds(WINDOW))
    doomed.until(lambda status: (status["jobs"] or {}).get("running") == 1, "it knows the job", seconds=30)
    doomed.until(lambda status: status["checkpoint"] is not None, "a first head", seconds=30)
    proxy.control.fault(Kind.LATENCY, method="PUT", seconds=30)
    doomed.until(lambda status: (status["jobs"] or {}).get("frozen") == 1, "frozen", seconds=WINDOW)
    return doomed, job, lambda: counting.lives(cluster.shared / "home", job)[-1].did


def test_p4_a_notice_withdrawn_while_jobs_are_frozen_lets_them_go_on_and_lifts_the_drain(cluster, frozen):
    doomed, job, did = frozen
    stopped_at = did()
    time.sleep(1)
    assert did() <= stopped_at + 1
    doomed.imds.withdraw()
    doomed.until_state("watching", seconds=30)
    until(lambda: not is_drained(cluster, doomed.name), "the drain is lifted", seconds=30)
    until(lambda: did() > stopped_at + 10, "it goes on", seconds=30)
    assert job_state(cluster, job) == "RUNNING"
    shown = cluster.run("head", ["squeue", "-h", "-j", job, "-O", "RestartCnt:32"], check=True)
    assert shown.stdout.strip() == "0"
    no_copier(doomed)


def test_p4_a_notice_withdrawn_after_the_requeue_lifts_the_drain_and_the_job_finds_its_files(site, agents):
    job = site.submit(SCRIPT_NAME)
    [node] = site.nodes_of(job)
    one = agents(node)
    site.stepped(job)
    one.imds.interrupt("terminate", in_seconds(WINDOW))
    one.until_state("resting", seconds=WINDOW + 10)
    one.imds.withdraw()
    one.until_state("watching", seconds=30)
    until(lambda: not is_drained(site.cluster, node), "the drain is lifted", seconds=30)
    site.ended(job)
    assert went_on(found := site.said(job)), found
    assert found[1].restore == "complete"
