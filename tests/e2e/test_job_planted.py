"""Planted in the bucket by whoever took a node over: a pointer, and a head full of what no job's user could make."""

import pytest

from agent.demo.stage import BUCKET
from agent.slurm.admin_comment import AdminComment, Kept
from tests.fakes.lab import scratch
from tests.fakes.site import counted

pytestmark = [pytest.mark.slurm, pytest.mark.s3, pytest.mark.slow]

OUTSIDE = ["/etc/cron.d/job", "/scratch/link/cron.d/job"]


@pytest.fixture(scope="module")
def waiting(site):
    """A job that was stopped on n1 and waits, held, for its next life."""
    job = site.submit("-w", "n1", "count.sh")
    counted(site, job)
    site.requeue(job, "n1")
    site.run("head", "scontrol", "hold", job)
    yield job
    site.run("head", "scancel", job)


@pytest.fixture
def begin(site, waiting):
    """Runs the shipped Prolog on n2 for the job's next life; returns what the job is told."""

    def run():
        variables = {
            "SLURM_JOB_ID": waiting,
            "SLURM_JOB_UID": "4242",
            "SLURM_NODELIST": "n2",
            "SLURMD_NODENAME": "n2",
            "SLURM_JOB_RESTART_COUNT": "1",
        }
        done = site.cluster.run("n2", ["/shared/slurm/prolog.d/10-hpc-agent.sh"], env=variables, timeout=60)
        assert done.returncode == 0
        return site.run("n2", "cat", f"/run/hpc-agent/restore/{waiting}")

    yield run
    site.run("n2", "find", "/scratch", "-mindepth", "1", "-delete")
    site.run("n2", "rm", "-f", f"/run/hpc-agent/restore/{waiting}")
    site.mark(waiting, "")


def planted(site, job, deed):
    record = {
        "job": int(job),
        "array": "",
        "user": "alice",
        "uid": 4242,
        "name": "count",
        "life": 0,
        "rank": 0,
        "nodes": 1,
        "node_list": "n1",
        "paths": [f"/scratch/{job}"],
        "alone": True,
        "quiesced": True,
        "complete": True,
        "torn": 0,
    }
    return site.python("tests.fakes.planting", {"bucket": BUCKET, "job": record, "deed": deed})


def vouch(site, job, head):
    kept = Kept(life=0, rank=0, key=head["key"], digest=head["digest"])
    site.mark(job, str(AdminComment().keeping(kept)))


def found(site):
    """Everything on the node's scratch, and what is where a path would have led out of it."""
    below = [str(path.relative_to(scratch(site.cluster, "n2"))) for path in scratch(site.cluster, "n2").rglob("*")]
    outside = [path for path in OUTSIDE if site.cluster.inside("n2", path).exists()]
    return sorted(below), outside


@pytest.mark.parametrize("deed", ["inside", "outside", "elsewhere"])
def test_p8_of_a_planted_pointer_and_head_nothing_is_restored(site, waiting, begin, deed):
    planted(site, waiting, deed)
    assert begin() == "none"
    assert found(site) == ([], [])


@pytest.mark.parametrize("deed", ["outside", "elsewhere"])
def test_p8_nothing_is_restored_of_paths_outside_even_if_slurm_vouched_for_them(site, waiting, begin, deed):
    vouch(site, waiting, planted(site, waiting, deed))
    assert begin() == "none"
    assert found(site) == ([], [])


def test_p8_even_if_slurm_vouched_for_it_the_user_gets_what_she_could_have_made_and_no_more(site, waiting, begin):
    vouch(site, waiting, planted(site, waiting, "inside"))
    assert begin() == "partial"
    names, outside = found(site)
    # What the planted link would have led out of its directory is a directory of hers, or nothing.
    assert {name.split("/")[1] for name in names if "/" in name} <= {"link", "own"}
    assert outside == []
    own = (scratch(site.cluster, "n2") / waiting / "own").stat()
    assert (own.st_uid, own.st_gid, own.st_mode & 0o7777) == (4242, 4242, 0o755)
