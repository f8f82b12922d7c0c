"""The newest checkpoint is damaged at the server: the job gets the one before it, and the operator is told."""

import sys

import pytest

from agent.slurm.admin_comment import AdminComment
from tests.fakes.counting import SCRIPT_NAME
from tests.fakes.lab import job_state, until
from tests.fakes.site import in_seconds

pytestmark = [pytest.mark.slurm, pytest.mark.s3, pytest.mark.slow]

WINDOW = 22.0
SYSLOG = """
import socket, sys
with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as log:
    log.bind("/dev/log")
    while True:
        print(log.recv(65536).decode(), flush=True)
"""
WARNING = "<12>"
"""Of facility user."""


@pytest.fixture
def told(site):
    """What has come to the system log of any node."""
    place = site.cluster.shared / "syslog"
    with place.open("w") as out:
        logs = [site.cluster.popen(node, [sys.executable, "-c", SYSLOG], stdout=out) for node in site.cluster.nodes]
        yield lambda: place.read_text().splitlines()
        for log in logs:
            log.kill()
            log.wait()
    for node in site.cluster.nodes:
        site.run(node, "rm", "-f", "/dev/log")


def moved_on(site, agents, job, life):
    """Take the node from under the job; return the job's newest head, and what it had done. It waits, held."""
    until(lambda: len(site.said(job)) == life + 1, "its life has begun", seconds=40)
    [node] = site.nodes_of(job)
    doomed = agents(node)
    site.stepped(job, least=site.said(job)[-1].began_from + 5)
    doomed.imds.interrupt("terminate", in_seconds(WINDOW))
    doomed.until(lambda status: (status["jobs"] or {}).get("requeued") == 1, "requeued", seconds=WINDOW + 10)
    until(lambda: job_state(site.cluster, job) == "PENDING", "it waits", seconds=30)
    site.run("head", "scontrol", "hold", job)
    doomed.until_state("resting", seconds=WINDOW)
    kept = AdminComment.parse(site.marked(job)).kept
    assert kept[0].life == life
    return kept[0].key, doomed.instance_id


def test_p2_a_job_whose_newest_checkpoint_is_damaged_goes_on_from_the_one_before_it(site, agents, told):
    job = site.submit("--export=ALL,LIVES=2", SCRIPT_NAME)
    older, _ = moved_on(site, agents, job, 0)
    site.run("head", "scontrol", "release", job)
    newest, instance = moved_on(site, agents, job, 1)
    site.damage(newest, of=instance)
    site.run("head", "scontrol", "release", job)
    until(lambda: len(site.said(job)) == 3, "its third life", seconds=40)
    site.ended(job)
    first, second, third = site.said(job)
    assert (second.restore, third.restore) == ("complete", "older")
    assert second.began_from - first.did in {0, 1}
    assert third.began_from == second.began_from
    assert third.is_right
    [line] = [line for line in told() if f"job {job}: restore older" in line]
    assert line.startswith(WARNING), line
    for checkpoint in (older, newest):
        assert checkpoint.split("/")[-1].split(".")[0] in line
