"""Jobs of two users on one node that goes: each gets its own files back, and nobody gets what may be another job's."""

import pytest

from tests.fakes.counting import SCRIPT, SCRIPT_NAME, went_on
from tests.fakes.lab import job_state, scratch, until
from tests.fakes.site import in_seconds

pytestmark = [pytest.mark.slurm, pytest.mark.s3, pytest.mark.slow]

WINDOW = 30.0
BOB = 4343
LOOSE = "loose.sh"
"""Counts in a directory whose name says nothing of a job."""


@pytest.fixture
def submit(site):
    """Submits a job as alice or as bob, who has an account on every machine; returns it once it runs on n1."""
    home = site.cluster.shared / "home"
    for machine in ("head", *site.cluster.nodes):
        known = f"grep -q ^bob: /etc/passwd || echo bob:x:{BOB}:{BOB}::/shared/home:/bin/bash >>/etc/passwd"
        site.run(machine, "sh", "-c", f"{known}; grep -q ^bob: /etc/group || echo bob:x:{BOB}: >>/etc/group")
    (home / LOOSE).write_text(SCRIPT.replace("/scratch/$SLURM_JOB_ID", "/scratch/of-$(id -un)"))
    home.chmod(0o1777)

    def run(user, script):
        command = [
            "sbatch",
            "--parsable",
            "-w",
            "n1",
            "-D",
            "/shared/home",
            "-o",
            "/dev/null",
            f"/shared/home/{script}",
        ]
        job = site.run("head", *command, user=user)
        until(lambda: job_state(site.cluster, job) == "RUNNING", f"job {job} runs", seconds=30)
        return job

    yield run
    site.run("head", "scancel", "--user", "bob")
    home.chmod(0o755)


def owners(path):
    return {(found.stat().st_uid, found.stat().st_gid) for found in [path, *path.iterdir()]}


def test_each_user_gets_the_own_files_back_and_nobody_those_that_may_be_another_jobs(site, agents, submit):
    only, own, loose = submit("alice", LOOSE), submit("bob", SCRIPT_NAME), submit("bob", LOOSE)
    doomed = agents("n1")
    for job in (only, own, loose):
        site.stepped(job)
    doomed.imds.interrupt("terminate", in_seconds(WINDOW))
    status = doomed.until_state("resting", seconds=WINDOW + 10)
    assert (status["outcome"], status["jobs"]["requeued"]) == ("COMPLETE", 3), status
    for job in (only, own, loose):
        site.start(job, "n2")
    for job in (only, own, loose):
        site.ended(job)
    # By its path, and as the only job of its user: each goes on where it was stopped.
    for job in (only, own):
        assert went_on(found := site.said(job)), found
        assert found[1].restore == "complete"
    # Of bob's two jobs either may have written it: it is in the checkpoint, and begins anew.
    _, second = site.said(loose)
    assert (second.restore, second.began_from, second.is_right) == ("none", 0, True)
    there = scratch(site.cluster, "n2")
    assert owners(there / "of-alice") == {(4242, 4242)}
    assert owners(there / own) == owners(there / "of-bob") == {(BOB, BOB)}
    assert sorted(path.name for path in there.iterdir()) == sorted([own, "of-alice", "of-bob"])
    kept = doomed.command("restore", status["checkpoint"]["id"], "--to", "/tmp/back", "--json")
    assert kept.returncode == 0, kept.stderr
    steps = (site.cluster.inside("n1", "/tmp/back") / "of-bob" / "steps").read_text().splitlines()
    assert len(steps) >= site.said(loose)[0].did
