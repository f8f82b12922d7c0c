"""A job runs for most of the two minutes while what is unsaved takes most of them, and all of it is saved."""

import pytest

from tests.fakes.counting import SCRIPT_NAME
from tests.fakes.evacuating import records
from tests.fakes.lab import scratch
from tests.fakes.site import in_seconds, opened

pytestmark = [pytest.mark.slurm, pytest.mark.s3, pytest.mark.slow, pytest.mark.timeout(400)]

WINDOW = 120.0
FILES, SIZE = 32, 32 << 20
"""1 GiB: a quarter of four at a quarter of the rate, so that neither memory nor a busy processor is what limits it."""
CAP = "tc qdisc add dev eth0 root tbf rate 152mbit burst 512k latency 100ms"
"""19 MB/s: the copy alone takes half of the 120 s."""


def test_of_two_minutes_a_job_runs_at_least_sixty_percent_and_everything_is_saved(tmp_path):
    with opened(tmp_path, 2, scratch="1500m") as site:
        job = site.submit("-w", "n1", SCRIPT_NAME)
        big = scratch(site.cluster, "n1") / "big"
        big.mkdir()
        for number in range(FILES):
            site.run("n1", "sh", "-c", f"head -c {SIZE} /dev/urandom >/scratch/big/{number}")
        site.run("n1", *CAP.split())
        doomed = site.agent("n1")
        site.stepped(job)
        doomed.imds.interrupt("terminate", in_seconds(WINDOW))
        status = doomed.until_state("resting", seconds=WINDOW + 10)
        outcome = records(doomed, site.bucket)[-1]
        doomed.end()
        assert (status["outcome"], outcome["left"]["files"], status["jobs"]["requeued"]) == ("COMPLETE", 0, 1), status
        assert outcome["totals"]["bytes"] >= FILES * SIZE
        ran = outcome["seconds"]["draining"] + outcome["seconds"]["copying"]
        assert ran >= 0.6 * WINDOW, outcome["seconds"]
        site.start(job, "n2")
        site.ended(job)
        first, second = site.said(job)
        assert second.began_from - first.did in {0, 1}
        assert second.restore == "complete"
