"""Jobs on a node that goes, with real Slurm: stopped late, saved, requeued, and running again elsewhere."""

import contextlib
import time
from datetime import UTC, datetime, timedelta

import pytest

from tests.fakes.evacuating import records
from tests.fakes.lab import is_drained, job_state, scratch, until

pytestmark = [pytest.mark.slurm, pytest.mark.s3, pytest.mark.slow]

WINDOW = 22.0
"""Seconds of notice: the shortest that is not taken for "now"."""
COUNTING = 'i=0; while :; do i=$((i+1)); echo $i >"/scratch/$SLURM_JOB_ID.count"; sleep 0.1; done'
DEAF = 'trap "" TERM; while :; do sleep 1; done'


def sbatch(cluster, *options, script):
    command = ["sbatch", "--parsable", "-D", "/shared/home", "-o", "/shared/home/%A.%a.out", *options, "--wrap", script]
    return cluster.run("head", command, user="alice", check=True).stdout.strip()


def shown(cluster, ref, field):
    return cluster.run("head", ["squeue", "-h", "-j", ref, "-O", f"{field}:32"]).stdout.strip()


def running(cluster, node):
    return cluster.run("head", ["squeue", "-h", "-w", node, "-t", "R", "-o", "%A"]).stdout.split()


@contextlib.contextmanager
def interactive(cluster, node):
    """Sit at a job on `node`; what it says to whoever sits there."""
    said = cluster.shared / "srun.err"
    with said.open("w") as err:
        srun = cluster.popen(node, ["srun", "-w", node, "sleep", "300"], user="alice", stderr=err)
    try:
        yield said.read_text
    finally:
        srun.kill()
        srun.wait()


def test_jobs_are_stopped_late_saved_and_requeued_once_and_run_again_elsewhere(cluster, instance, bucket):
    counting = sbatch(cluster, script=COUNTING)  # on whatever node: it must be able to run on another
    name = until(lambda: shown(cluster, counting, "NodeList"), "it runs", seconds=30)
    doomed = instance(name)
    deaf = sbatch(cluster, "-w", name, "--no-requeue", script=DEAF)
    array = sbatch(cluster, "-w", name, "--array=1-2", script="[ $SLURM_ARRAY_TASK_ID = 1 ] || srun sleep 300")
    with interactive(cluster, name) as said:
        until(lambda: shown(cluster, f"{array}_2", "State") == "RUNNING", "the array runs", seconds=30)
        until(lambda: f"{array}_1" not in shown(cluster, array, "JobArrayID"), "its sibling is done", seconds=30)
        until((scratch(cluster, name) / f"{counting}.count").exists, "it counts", seconds=30)
        until(lambda: len(running(cluster, name)) == 4, "the interactive job runs, too", seconds=30)

        began = time.monotonic()
        doomed.imds.interrupt("terminate", datetime.now(UTC) + timedelta(seconds=WINDOW))
        until(lambda: is_drained(cluster, name), "DRAIN", seconds=30)
        assert [job_state(cluster, job) for job in (counting, deaf)] == ["RUNNING", "RUNNING"]
        status = doomed.until_state("resting", seconds=WINDOW + 10)
        assert status["outcome"] == "COMPLETE"
        assert status["jobs"] == {
            "running": 2,
            "frozen": 0,
            "requeued": 2,
            "requeued-by-another": 0,
            "left": 0,
            "ended": 0,
        }
        assert "this node goes in" in said()
    _, outcome = records(doomed, bucket)
    assert outcome["seconds"]["copying"] > 0.3 * WINDOW
    done = {one["job"]: (one["done"], one["why"]) for one in outcome["jobs"]}
    assert done.pop(counting) == done.pop(f"{array}_2") == ("requeued", "")
    assert done.pop(deaf) == ("left", "submitted with --no-requeue")
    assert [why for _, why in done.values()] == ["interactive: only batch jobs can be requeued"]

    saved_count = int((scratch(cluster, name) / f"{counting}.count").read_text())
    assert saved_count > 10 * 0.3 * WINDOW / 3
    assert (shown(cluster, counting, "RestartCnt"), shown(cluster, f"{array}_2", "RestartCnt")) == ("1", "1")
    assert shown(cluster, deaf, "RestartCnt") == "0"
    assert shown(cluster, f"{array}_1", "State") == ""  # the finished sibling was not started again
    until(lambda: job_state(cluster, counting) == "RUNNING", "it runs again", seconds=30)
    assert shown(cluster, counting, "NodeList") in {"n1", "n2", "n3"} - {name}
    assert time.monotonic() - began < 3 * WINDOW
    cluster.run("head", ["scancel", "--user", "alice"], check=True)
