"""A window that is too short for the scratch, on a real node: what is whole at its end, and what the record says."""

import os

import pytest

from tests.fakes.evacuating import in_seconds, records, slow_down
from tests.fakes.lab import scratch

pytestmark = [pytest.mark.slurm, pytest.mark.s3, pytest.mark.slow]

WINDOW = 22.0
"""Seconds: just more than what the agent takes for "now" (agent.evacuation.plan.SHORT_WINDOW)."""
STREAMS = 3
"""To begin with; up to four times as many."""
SETTINGS = (
    f'connections = {STREAMS}\npart_size = "5MiB"\n[checkpoint]\npack_below = "0B"\nlead = "never"\n'
    '[imds]\npoll_interval = "200ms"\n'
)
"""Each file or part is a request, and each request takes a second."""


def evacuated(node, proxy, bucket):
    """Have a short window come and go; return the outcome document in S3."""
    slow_down(proxy.control, 1.0)
    node.imds.interrupt(at=in_seconds(WINDOW))
    node.until_state("resting", seconds=WINDOW + 10)
    return records(node, bucket)[-1]


def many(top, folder, count):
    (top / folder).mkdir(parents=True)
    for number in range(count):
        (top / folder / f"{number:03}").write_bytes(os.urandom(10_000))


def test_p3_files_of_scratch_priority_are_whole_and_the_outcome_names_the_rest(instance, bucket, proxy):
    n1 = instance(
        "n1", endpoint=proxy.endpoint, settings=f'{SETTINGS}[scratch]\npriority = ["*/results/*"]\n', run=False
    )
    top = scratch(n1.cluster, n1.name)
    many(top, "a", 400)
    many(top, "z/deep/results", 10)
    n1.start_agent()
    outcome = evacuated(n1, proxy, bucket)
    left = outcome["left"]
    assert outcome["outcome"] == "PARTIAL"
    assert all(path.startswith("/scratch/a/") for path in left["paths"])
    assert (left["files"], left["bytes"]) == (len(left["paths"]), 10_000 * len(left["paths"]))
    assert outcome["totals"]["files"] == 410 - left["files"]


def test_p3_a_large_file_that_cannot_finish_gives_way_and_the_outcome_names_it(instance, bucket, proxy):
    n1 = instance("n1", endpoint=proxy.endpoint, settings=SETTINGS, run=False)
    top = scratch(n1.cluster, n1.name)
    many(top, "z", 400)
    with (top / "a-huge").open("wb") as file:
        for _ in range(240):
            file.write(os.urandom(1 << 20))
    n1.start_agent()
    left = evacuated(n1, proxy, bucket)["left"]
    whole = 401 - left["files"]
    parts = [seen for seen in proxy.control.log() if "partNumber" in seen.query]
    assert left["paths"][0] == "/scratch/a-huge"
    assert left["bytes"] == (240 << 20) + 10_000 * (left["files"] - 1)
    assert len(parts) < whole / 4, "a connection that kept on with the large file would have sent half as many"
