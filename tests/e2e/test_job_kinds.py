"""One node goes with every kind of job on it: each has its own end, and the outcome names them all."""

import contextlib

import pytest

from tests.fakes.counting import SCRIPT_NAME, lost
from tests.fakes.evacuating import records
from tests.fakes.lab import is_drained, job_state, until
from tests.fakes.site import in_seconds

pytestmark = [pytest.mark.slurm, pytest.mark.s3, pytest.mark.slow]

WINDOW = 30.0
KILL_WAIT = 5
"""Seconds, as the lab has it."""
STEPS = f"bash /shared/home/{SCRIPT_NAME}"
DEAF = f'trap "" TERM; {STEPS}'
UNTIL_TOLD = "until [ -e /shared/home/enough ]; do sleep 0.1; done"
ARRAY = "[ $SLURM_ARRAY_TASK_ID = 1 ] || sleep 300"


@pytest.fixture
def without_epilog(site):
    """An Epilog that is not ours: one that finds no file at all would drain the node (docs/jobs.md)."""
    epilog = site.cluster.shared / "slurm" / "epilog.d" / "90-hpc-agent.sh"
    ours = epilog.read_bytes()
    epilog.write_text("#!/bin/sh\nexit 0\n")
    yield
    epilog.write_bytes(ours)


@contextlib.contextmanager
def interactive(site, node):
    """Sit at a job on `node`; what it says to whoever sits there."""
    said = site.cluster.shared / "srun.err"
    with said.open("w") as err:
        srun = site.cluster.popen(node, ["srun", "-w", node, "sleep", "300"], user="alice", stderr=err)
    try:
        yield said.read_text
    finally:
        srun.kill()
        srun.wait()


def an_array(site, here, elsewhere):
    """An array whose first task has ended, whose second is `here` and whose third is `elsewhere`."""
    array = site.run(
        "head", "sbatch", "--parsable", "--hold", "--array=1-3", "-D", "/shared/home", "--wrap", ARRAY, user="alice"
    )
    for task, node in enumerate((here, here, elsewhere), start=1):
        site.run("head", "scontrol", "update", f"JobId={array}_{task}", f"ReqNodeList={node}")
    site.run("head", "scontrol", "release", array)
    until(
        lambda: [site.shown(f"{array}_{task}", "NodeList") for task in (2, 3)] == [here, elsewhere], "runs", seconds=20
    )
    until(lambda: job_state(site.cluster, f"{array}_1") in {"", "COMPLETED"}, "its first task ends", seconds=30)
    return array


@pytest.mark.parametrize("is_barrier", [True, False])
def test_p10_every_kind_of_job_has_its_own_end_and_is_named(site, agents, request, is_barrier):
    if not is_barrier:
        request.getfixturevalue("without_epilog")
    enough = site.cluster.shared / "home" / "enough"
    enough.unlink(missing_ok=True)
    here, elsewhere = "n1", "n2"
    plain = site.submit("-w", here, "--wrap", STEPS)
    deaf = site.submit("-w", here, "--wrap", DEAF)
    kept = site.submit("-w", here, "--no-requeue", "--wrap", "sleep 300")
    ends = site.submit("-w", here, "--wrap", UNTIL_TOLD)
    array = an_array(site, here, elsewhere)
    doomed = agents(here, is_barrier=is_barrier)
    with interactive(site, here) as said:
        until(
            lambda: site.run("head", "squeue", "-h", "-w", here, "-t", "R", "-o", "%A").count("\n") == 5,
            "6",
            seconds=20,
        )
        for job in (plain, deaf):
            site.stepped(job)
        doomed.imds.interrupt("terminate", in_seconds(WINDOW))
        until(lambda: is_drained(site.cluster, here), "DRAIN", seconds=30)
        assert {job_state(site.cluster, job) for job in (plain, deaf, kept, ends, f"{array}_2")} == {"RUNNING"}
        doomed.until(lambda status: (status["jobs"] or {}).get("running") == 6, "it knows them all", seconds=30)
        enough.touch()
        status = doomed.until_state("resting", seconds=WINDOW + 10)
        assert status["outcome"] == "COMPLETE", status
        assert "this node goes in" in said()
    done = {one["job"]: (one["done"], one["why"]) for one in records(doomed, site.bucket)[-1]["jobs"]}
    assert {job: done.pop(job) for job in (plain, deaf, f"{array}_2", kept, ends)} == {
        plain: ("requeued", ""),
        deaf: ("requeued", ""),
        f"{array}_2": ("requeued", ""),
        kept: ("left", "submitted with --no-requeue"),
        ends: ("ended", ""),
    }
    assert list(done.values()) == [("left", "interactive: only batch jobs can be requeued")]
    assert [site.shown(job, "RestartCnt") for job in (plain, deaf, f"{array}_2", f"{array}_3", kept)] == list("11100")
    assert [site.shown(job, "State") for job in (f"{array}_1", f"{array}_3", kept)] == ["", "RUNNING", "RUNNING"]
    for job in (plain, deaf):
        until(lambda one=job: job_state(site.cluster, one) == "PENDING", "it is requeued", seconds=30)
        site.start(job, "n3")
    for job in (plain, deaf):
        site.ended(job)
        assert (found := site.said(job))[1].is_right, found
        assert found[1].restore == "complete"
    # Stopped where they were, they go on for as long as Slurm takes to end them: the deaf one for KillWait.
    assert lost(site.said(plain)) <= (0 if is_barrier else 2)
    assert lost(site.said(deaf)) <= (0 if is_barrier else 10 * KILL_WAIT)
