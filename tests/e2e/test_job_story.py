"""From the notice to the right result: jobs that know nothing of the agent, and nothing done but the notice."""

import pytest

from tests.fakes.counting import RANKS, SCRIPT_NAME, went_on
from tests.fakes.evacuating import records
from tests.fakes.lab import job_state, metrics, sample, scratch, until
from tests.fakes.site import in_seconds

pytestmark = [pytest.mark.slurm, pytest.mark.s3]

WINDOW = 22.0
"""Seconds of notice: the shortest that is not taken for "now"."""


def ended(site, job):
    until(lambda: job_state(site.cluster, job) in {"", "COMPLETED", "FAILED"}, f"job {job} ends", seconds=90)
    assert "COMPLETED" in site.run("head", "scontrol", "show", "job", job)


def owners(path):
    return {(found.stat().st_uid, found.stat().st_gid) for found in [path, *path.iterdir()]}


def test_an_unchanged_job_whose_node_goes_ends_with_the_right_result_elsewhere(site, agents):
    job = site.submit(SCRIPT_NAME)
    [node] = site.nodes_of(job)
    doomed = agents(node)
    site.stepped(job, 0)
    doomed.imds.interrupt("terminate", in_seconds(WINDOW))
    status = doomed.until_state("resting", seconds=WINDOW + 10)
    assert (status["outcome"], status["jobs"]["requeued"]) == ("COMPLETE", 1), status
    ended(site, job)
    found = site.said(job)
    assert went_on(found), found
    assert found[1].restore == "complete"
    assert found[1].node != node
    assert owners(scratch(site.cluster, found[1].node) / job) == {(4242, 4242)}


@pytest.mark.slow
def test_a_job_on_two_nodes_that_both_go_gives_each_rank_its_own_files(site, agents):
    job = site.submit("-N2", "--wrap", RANKS)
    assert site.nodes_of(job) == ["n1", "n2"]
    doomed = [agents("n1"), agents("n2")]
    site.stepped(job, 0, 1)
    until_ = in_seconds(WINDOW + 8)
    for one in doomed:
        one.imds.interrupt("terminate", until_)
    ends = [one.until_state("resting", seconds=WINDOW + 20) for one in doomed]
    assert [status["outcome"] for status in ends] == ["COMPLETE", "COMPLETE"]
    taken = [[done["done"] for done in records(one, site.bucket)[-1]["jobs"]] for one in doomed]
    assert sorted(taken) == [["requeued"], ["requeued-by-another"]]
    ended(site, job)
    right_on_new_nodes(site, job, ["n3", "n4"])


@pytest.mark.slow
def test_the_node_that_stays_comes_back_with_another_rank_and_gets_that_ranks_files(site, agents):
    job = site.submit("-N2", "--wrap", RANKS)
    assert site.nodes_of(job) == ["n1", "n2"]
    doomed, stays = agents("n1"), agents("n2")
    site.stepped(job, 0, 1)
    doomed.imds.interrupt("terminate", in_seconds(WINDOW + 8))
    status = doomed.until_state("resting", seconds=WINDOW + 20)
    assert (status["outcome"], status["jobs"]["requeued"]) == ("COMPLETE", 1), status
    ended(site, job)
    right_on_new_nodes(site, job, ["n2", "n3"])
    assert sample(metrics(stays), 'hpc_agent_job_restores_total{result="complete"}') == 1
    aside = scratch(site.cluster, "n2") / f"{job}.hpc-agent-before-life1"
    assert {line.split()[0] for line in (aside / "steps").read_text().splitlines()} == {"1"}


def right_on_new_nodes(site, job, nodes):
    for rank, node in enumerate(nodes):
        found = site.said(job, rank)
        assert went_on(found), (rank, found)
        assert (found[1].node, found[1].restore, found[1].of) == (node, "complete", (str(rank),))
        assert owners(scratch(site.cluster, node) / job) == {(4242, 4242)}
