"""A tree that is saved ahead of its notice, on a real node: the rescue sends what has changed since."""

import pytest

from tests.fakes.evacuating import data_bytes, planted, what_came_back
from tests.fakes.lab import metrics, sample, scratch
from tests.fakes.trees import picture

pytestmark = [pytest.mark.slurm, pytest.mark.s3]

AT_ONCE = '[imds]\npoll_interval = "200ms"\n[checkpoint]\nlead_quiet = "0s"\nlead_budget = "20s"\n'
"""Nothing fits the budget, and every file is at rest."""


def test_a_rescue_sends_what_has_changed_since_the_copy_ahead(instance, proxy):
    n1 = instance("n1", endpoint=proxy.endpoint, settings=AT_ONCE, run=False)
    _, size = planted(n1, size=10_000_000)
    n1.start_agent()
    n1.until(lambda status: (status["unsaved"] or {}).get("files") == 0, "the tree is saved ahead", seconds=30)
    assert data_bytes(proxy.control) >= size
    assert sample(metrics(n1), "hpc_agent_lead_bytes_total") >= size

    before = data_bytes(proxy.control)
    (scratch(n1.cluster, n1.name) / "work" / "new").write_bytes(b"x" * 100_000)
    tree = picture(scratch(n1.cluster, n1.name))
    n1.imds.interrupt()
    status = n1.until_state("resting", seconds=30)
    assert (status["outcome"], status["trouble"]) == ("COMPLETE", [])
    assert 100_000 <= data_bytes(proxy.control) - before < size / 20
    assert what_came_back(n1, status["checkpoint"]["id"], tree) == []


def test_of_a_small_tree_nothing_is_ever_sent_ahead(instance, proxy):
    n1 = instance("n1", endpoint=proxy.endpoint, settings='[checkpoint]\nlead_quiet = "0s"\n', run=False)
    planted(n1, size=10_000_000)
    n1.start_agent()
    status = n1.until(lambda status: "fits" in status["ahead"]["why"], "it has looked", seconds=30)
    assert status["ahead"] == {"why": "all of the scratch fits the budget", "bytes_today": 0}
    assert data_bytes(proxy.control) == 0
