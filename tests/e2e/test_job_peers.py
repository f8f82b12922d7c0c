"""A job of two nodes of which one goes: the other saves its part, and each rank finds its own files again."""

import contextlib
from datetime import UTC, datetime, timedelta

import pytest

from agent.demo.cluster import Cluster
from agent.demo.stage import Bucket, Instance
from tests.fakes.lab import job_state, scratch, until
from tests.fakes.site import CONF, Site, count_of, counted

pytestmark = [pytest.mark.slurm, pytest.mark.s3, pytest.mark.slow]

RANKS = ("srun --ntasks-per-node=1 bash /shared/home/count.sh",)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    with Cluster.up(tmp_path_factory.mktemp("peers") / "lab", 3, extra_conf=CONF) as cluster:
        bucket = Bucket(cluster)
        bucket.start()
        bucket.make()
        yield Site(cluster, bucket)
        bucket.stop()


@pytest.fixture
def agents(site):
    """Agents on n1 and n2, with the settings given; both know whether there is a barrier."""
    with contextlib.ExitStack() as ends:

        def start(settings=""):
            found = []
            for name in ("n1", "n2"):
                instance_id = f"i-{name}{len(settings):08x}"
                one = Instance(site.cluster, name, instance_id=instance_id, bucket=site.bucket, settings=settings)
                found.append(ends.enter_context(one))
            for one in found:
                one.until(lambda status: status["capabilities"]["barrier"]["on"], "the barrier is up", seconds=30)
            return found

        yield start
    site.undrain("n1")
    site.run("head", "scancel", "--user", "alice")


def two_nodes(site, *options):
    job = site.submit("-N2", "-w", "n1,n2", *options, "--wrap", *RANKS)
    for node in ("n1", "n2"):
        counted(site, job, node=node, at_least=20)
    return job


def rescued(site, doomed, job):
    """Take n1 away; return once the job waits for its next life."""
    doomed.imds.interrupt("terminate", datetime.now(UTC) + timedelta(seconds=30))
    status = doomed.until_state("resting", seconds=60)
    assert (status["outcome"], status["jobs"]["requeued"]) == ("COMPLETE", 1), status
    until(lambda: job_state(site.cluster, job) == "PENDING", "both nodes are rid of it", seconds=60)


def test_the_node_that_stays_saves_its_rank_and_gets_the_other_one_in_the_next_life(site, agents):
    doomed, _ = agents()
    job = two_nodes(site)
    stays = scratch(site.cluster, "n2")
    (stays / "of-nobody").write_text("not of this job")
    rescued(site, doomed, job)
    assert count_of(site, job, node="n1") == count_of(site, job, node="n2") == 20
    marked = site.marked(job)
    assert ("head=0/0/" in marked, "head=0/1/" in marked, "requeue=0/n1/" in marked) == (True, True, True)
    site.start(job, "n2,n3")
    said = site.ended(job)
    for rank in (0, 1):
        assert f"rank {rank} from 20 restore complete" in said
        assert f"rank {rank} done 30 steps of {rank}" in said
    assert set((stays / f"{job}.hpc-agent-before-life1" / "steps").read_text().split()) == {"1"}
    saved = site.run("n2", "sh", "-c", "grep -h 'its files of rank 1, life 0' /shared/log/agent-n2-*")
    assert saved.count(f"job {job}") == 1
    assert not list(site.cluster.inside("n2", "/run/hpc-agent/lives").iterdir())


def test_what_a_peer_has_no_room_for_is_left_and_the_job_begins_anew(site, agents):
    doomed, _ = agents('[slurm]\npeer_save_bytes = "1B"\n')
    job = two_nodes(site)
    rescued(site, doomed, job)
    assert "but for" in site.run("n2", "sh", "-c", "cat /shared/log/agent-n2-*")
    site.start(job, "n2,n3")
    said = site.ended(job)
    assert "rank 1 from 0 restore none" in said


def test_a_job_that_a_person_requeued_is_not_held_for_its_parts(site, agents):
    agents()
    job = two_nodes(site)
    site.run("head", "scontrol", "requeue", "Incomplete", job)
    until(lambda: job_state(site.cluster, job) == "PENDING", "both nodes are rid of it", seconds=30)
    assert "head=" not in site.marked(job)
