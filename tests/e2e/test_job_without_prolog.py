"""A Slurm that leaves out the Prolog of a requeued job: the job is told that nobody has brought its files back."""

import contextlib

import pytest

from tests.fakes.counting import SCRIPT_NAME
from tests.fakes.lab import begin, until

pytestmark = [pytest.mark.slurm, pytest.mark.s3, pytest.mark.slow]

TRIES = 5
BUSY = "while :; do srun -w {node} true; done"


@pytest.fixture
def busy(site):
    """Keeps the slurmd of a node busy with the steps of other jobs."""
    with contextlib.ExitStack() as ends:

        def start(node):
            others = site.cluster.popen("head", ["sh", "-c", BUSY.format(node=node)], user="alice")
            ends.callback(others.wait)
            ends.callback(others.kill)

        yield start
    site.run("head", "scancel", "--user", "alice")


def test_p2_a_job_whose_prolog_slurm_left_out_is_told_that_nothing_came_back(site, busy):
    """slurmd forgets the credential of an earlier life only when it looks for old ones, at most every two seconds; with
    one in its list a job has its Prolog behind it (22.05, `_clear_expired_job_states`)."""
    node = site.cluster.nodes[0]
    busy(node)
    told = []
    for _ in range(TRIES):
        job = site.submit("-w", node, SCRIPT_NAME)
        site.stepped(job)
        site.run("head", "scontrol", "requeue", "Incomplete", job)
        begin(site.cluster, job)
        until(lambda one=job: len(site.said(one)) == 2, "its second life", seconds=40)
        began = site.run(node, "cat", f"/run/hpc-agent/lives/{job}", check=False)
        told.append((site.said(job)[1].restore, bool(began)))
        site.run("head", "scancel", job)
    assert {restore for restore, _ in told} == {"none"}, told
    assert not all(had_a_prolog for _, had_a_prolog in told), told
