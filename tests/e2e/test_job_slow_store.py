"""A Prolog whose store is slow, or that is killed: the job starts in time, nothing half is left, no node is drained."""

import subprocess
import time
from pathlib import Path

import pytest

from agent.demo.stage import PORT
from tests.fakes.lab import is_drained, scratch, until
from tests.fakes.s3proxy import Kind, ProxyProcess
from tests.fakes.site import count_of, counted, opened

pytestmark = [pytest.mark.slurm, pytest.mark.s3, pytest.mark.slow]

SHORT = "BatchStartTimeout=20\n"
"""Seconds; less than the slow store wants, and enough for a Python that starts on a busy machine."""
FILES, SIZE = 120, 1_100_000


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    with opened(tmp_path_factory.mktemp("slow"), 2, conf=SHORT) as site:
        yield site


@pytest.fixture
def proxy(site):
    """A proxy before the S3 server, which the Prolog of n2 goes through."""
    head = site.cluster.command("head", [], cwd=str(Path(__file__).parents[2]))
    there = {"before": head, "inside": Path("/shared/s3proxy.sock")}
    at = (f"{site.bucket.address}:0", f"{site.bucket.address}:{PORT}", site.cluster.shared / "s3proxy.sock")
    with ProxyProcess(*at, **there) as process:
        site.reach("n2", process.endpoint)
        yield process.control
    site.reach("n2", site.bucket.endpoint)


@pytest.fixture
def kept(site):
    """A job that was stopped on n1, with many small files, and waits for its next life; what it had counted."""
    job = site.submit("-w", "n1", "count.sh")
    counted(site, job)
    more = f"cd /scratch/{job} && for n in $(seq {FILES}); do head -c {SIZE} /dev/zero | tr '\\0' x >more.$n; done"
    site.cluster.run("n1", ["sh", "-c", more], user="alice", check=True)
    site.requeue(job, "n1")
    site.run("head", "scontrol", "hold", job)
    assert site.keep(job, "n1")["kept"]
    yield job, count_of(site, job, node="n1")
    site.run("head", "scancel", job)
    for node in site.cluster.nodes:
        site.run(node, "find", "/scratch", "-mindepth", "1", "-delete")


def test_p6_a_job_whose_files_do_not_come_in_time_starts_anew_in_time_and_its_node_stays(site, kept, proxy):
    job, _ = kept
    proxy.fault(Kind.LATENCY, method="GET", key="/data/", seconds=4)
    began = time.monotonic()
    site.run("head", "scontrol", "release", job)
    site.start(job, "n2")
    said = site.ended(job)
    assert "from 0 restore none" in said
    assert "done 30 steps of 0" in said
    assert time.monotonic() - began < 60
    assert not is_drained(site.cluster, "n2")
    names = sorted(path.name for path in scratch(site.cluster, "n2").iterdir())
    assert [name for name in names if name not in {job, f"{job}.hpc-agent-incomplete"}] == []


def begin(site, job):
    variables = {
        "SLURM_JOB_ID": job,
        "SLURM_JOB_UID": "4242",
        "SLURM_NODELIST": "n2",
        "SLURMD_NODENAME": "n2",
        "SLURM_JOB_RESTART_COUNT": "1",
    }
    return site.cluster.popen("n2", ["/shared/slurm/prolog.d/10-hpc-agent.sh"], env=variables, stderr=subprocess.PIPE)


def test_p7_a_prolog_that_is_killed_in_the_middle_is_run_again_and_brings_everything(site, kept, proxy):
    job, counted_to = kept
    proxy.fault(Kind.LATENCY, method="GET", key="/data/", seconds=0.4)
    killed, folder = begin(site, job), scratch(site.cluster, "n2") / job
    until(lambda: folder.exists() and any(folder.iterdir()), "it has begun", seconds=20, every=0.01)
    for pid in site.run("n2", "pgrep", "-f", "agent prolog").split():
        site.run("n2", "kill", "-9", pid, check=False)
    killed.wait(timeout=20)
    assert killed.returncode == 0
    whole = {path.name: path.stat().st_size for path in folder.iterdir() if path.name.startswith("more.")}
    assert len(whole) < FILES
    assert set(whole.values()) <= {SIZE}
    proxy.lift()
    again = begin(site, job)
    _, said = again.communicate(timeout=60)
    assert again.returncode == 0
    assert site.run("n2", "cat", f"/run/hpc-agent/restore/{job}") == "complete", said
    assert len([path for path in folder.iterdir() if path.name.startswith("more.")]) == FILES
    assert count_of(site, job, node="n2") == counted_to
    assert not [path.name for path in scratch(site.cluster, "n2").rglob("*") if path.name.startswith(".")]
