"""Evacuations under a head node that ends at once what is drained and idle: nothing that jobs wrote is lost."""

from itertools import chain

import pytest

from tests.fakes.counting import SCRIPT_NAME, lost, went_on
from tests.fakes.head_node import HeadNode
from tests.fakes.lab import job_state, until
from tests.fakes.site import SHIPPED, in_seconds, opened

pytestmark = [pytest.mark.slurm, pytest.mark.s3, pytest.mark.slow, pytest.mark.timeout(600)]

NODES, ROUNDS = 5, 4
WINDOW = 30.0
HOLLOW = "#!/bin/sh\n# Names hpc-agent, as one that waits for it would, and waits for nobody.\nexit 0\n"


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    with opened(tmp_path_factory.mktemp("idle"), NODES, cpus=1) as site:
        yield site


@pytest.fixture
def evacuate(site):
    """Takes all nodes from under a job each; returns what the jobs say of their two lives.

    The head node looks `every` so many seconds.
    """

    def run(*, every=1.0):
        jobs = [site.submit(SCRIPT_NAME) for _ in site.cluster.nodes]
        doomed = [site.agent(node) for node in site.cluster.nodes]
        for job in jobs:
            site.stepped(job)
        with HeadNode(site.cluster, every=every) as head_node:
            ends_at = in_seconds(WINDOW)
            for one in doomed:
                one.imds.interrupt("terminate", ends_at)
            until(lambda: len(head_node.ended) == NODES, "the head node ends them all", seconds=WINDOW + 30)
        assert head_node.trouble == []
        for one in doomed:
            one.end()
            site.cluster.boot(one.name)
            site.equip(one.name)
        site.cluster.settle()
        for node in site.cluster.nodes:
            site.undrain(node)
        for job in jobs:
            until(lambda one=job: job_state(site.cluster, one) in {"", "COMPLETED"}, f"job {job} ends", seconds=60)
        return [site.said(job) for job in jobs]

    return run


def test_p2_twenty_evacuations_in_a_row_lose_no_byte(evacuate):
    for _ in range(ROUNDS):
        for found in evacuate():
            assert went_on(found), found
            assert found[1].restore == "complete"


def test_with_an_epilog_that_waits_for_nobody_the_head_node_is_faster_and_bytes_are_lost(site, evacuate):
    """What the test above is worth: the same, requeued first as with a barrier, and nothing holds the node.

    Looked at once a second, a node may have saved all by the next look: the last delta of a small tree takes less.
    """
    epilog = site.cluster.shared / "slurm" / "epilog.d" / "90-hpc-agent.sh"
    epilog.write_text(HOLLOW)
    rounds = []
    try:
        while len(rounds) < ROUNDS and not any(map(lost, chain(*rounds))):
            rounds.append(evacuate(every=0.1))
    finally:
        epilog.write_bytes((SHIPPED / "epilog.d" / epilog.name).read_bytes())
    assert sum(map(lost, chain(*rounds))) > 0, rounds
