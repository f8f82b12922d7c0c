"""The job scripts that are shipped as examples, as they are but for how far and how fast they count."""

import re
from pathlib import Path

import pytest

from tests.fakes.lab import job_state, until
from tests.fakes.site import in_seconds

pytestmark = [pytest.mark.slurm, pytest.mark.s3, pytest.mark.slow]

EXAMPLES = Path(__file__).parents[2] / "packaging" / "slurm" / "examples"
ENOUGH = 300
"""Steps of 0.2 s: more than a first life has time for, if the second one begins where it should."""


@pytest.mark.parametrize(("name", "window"), [("count.sh", 25.0), ("count-signal.sh", 50.0)])
def test_a_shipped_example_counts_on_elsewhere_from_where_it_was(site, agents, name, window):
    text = (EXAMPLES / name).read_text().replace("1000", str(ENOUGH)).replace("sleep 1", "sleep 0.2")
    shipped = f"shipped-{name}"  # other tests have a count.sh of their own there
    (site.cluster.shared / "home" / shipped).write_text(text)
    job = site.submit(shipped)
    [node] = site.nodes_of(job)
    doomed = agents(node)
    doomed.imds.interrupt("terminate", in_seconds(window))
    status = doomed.until_state("resting", seconds=window + 10)
    assert (status["outcome"], status["jobs"]["requeued"]) == ("COMPLETE", 1), (status, site.output(job))
    until(lambda: job_state(site.cluster, job) in {"", "COMPLETED", "FAILED"}, f"job {job} ends", seconds=150)
    said = site.output(job)
    begins = re.findall(r"begin at (\d+) on \S+, restore: (.*)", said)
    assert begins[0] == ("0", "first life")
    assert begins[1][1] == "complete", said
    assert int(begins[1][0]) > 10
    assert f"done: {ENOUGH}" in said
    assert ("saved" in said) is (name == "count-signal.sh")
