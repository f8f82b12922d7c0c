"""Without the Epilog, where Slurm's cgroup plugin has made a cgroup for the job: frozen, saved, committed, requeued."""

from datetime import UTC, datetime, timedelta

import pytest

from agent.demo.cluster import Cluster
from agent.demo.stage import Bucket, Instance
from tests.fakes.lab import job_state, scratch, state_of, submit, until

pytestmark = [pytest.mark.slurm, pytest.mark.s3, pytest.mark.slow]

CGROUPS = """
umount /sys/fs/cgroup || :
mount -t tmpfs cgroups /sys/fs/cgroup
mkdir /sys/fs/cgroup/freezer
mount -t cgroup -o freezer freezer /sys/fs/cgroup/freezer
printf 'CgroupPlugin=cgroup/v1\\nCgroupAutomount=no\\n' >/etc/slurm/cgroup.conf
"""
COUNT = 'trap "" TERM; i=0; while :; do i=$((i+1)); echo $i >"/scratch/$SLURM_JOB_ID.count"; sleep 0.1; done'


@pytest.fixture
def stage(tmp_path):
    with Cluster.up(tmp_path / "lab", 2, slurmd=False, extra_conf="ProctrackType=proctrack/cgroup") as cluster:
        for node in cluster.nodes:
            cluster.run(node, ["sh", "-ec", CGROUPS], check=True)
            cluster.start_slurmd(node)
        cluster.settle()
        bucket = Bucket(cluster)
        bucket.start()
        bucket.make()
        yield cluster, bucket
        bucket.stop()


def frozen(cluster, job):
    show = f"cat /sys/fs/cgroup/freezer/slurm*/uid_4242/job_{job}/step_batch/freezer.state"
    return cluster.run("n1", ["sh", "-c", show]).stdout.strip() == "FROZEN"


def test_a_job_that_is_frozen_in_its_cgroup_is_requeued_after_the_commit_and_leaves_the_node(stage):
    cluster, bucket = stage
    job = submit(cluster, "n1", COUNT)
    count = scratch(cluster, "n1") / f"{job}.count"
    with Instance(cluster, "n1", instance_id="i-frozen", bucket=bucket) as doomed:
        until(count.exists, "it counts", seconds=30)
        doomed.imds.interrupt("terminate", datetime.now(UTC) + timedelta(seconds=30))
        until(lambda: frozen(cluster, job), "it is frozen", seconds=40)
        stopped_at = count.read_text()
        assert job_state(cluster, job) == "RUNNING"
        status = doomed.until_state("resting", seconds=40)
        assert (status["outcome"], status["jobs"]["requeued"]) == ("COMPLETE", 1), status
        restarts = ["squeue", "-h", "-j", job, "-O", "RestartCnt:8"]
        assert cluster.run("head", restarts).stdout.strip() == "1"
        # It ignores TERM: KillWait (5 s here), and a frozen process of cgroup v1 could not even be killed.
        until(lambda: "COMPLETING" not in state_of(cluster, "n1"), "the node is rid of it", seconds=30)
        assert int(count.read_text()) >= int(stopped_at)


def test_p7_an_agent_that_is_killed_while_a_job_is_frozen_lets_it_go_on_when_the_notice_is_gone(stage):
    cluster, bucket = stage
    job = submit(cluster, "n1", COUNT)
    count = scratch(cluster, "n1") / f"{job}.count"
    with Instance(cluster, "n1", instance_id="i-killed", bucket=bucket, endpoint="http://10.99.0.1:9") as doomed:
        until(count.exists, "it counts", seconds=30)
        doomed.imds.interrupt("terminate", datetime.now(UTC) + timedelta(seconds=40))
        until(lambda: frozen(cluster, job), "it is frozen", seconds=60)
        doomed.kill_agent()
        doomed.imds.withdraw()
        assert frozen(cluster, job)
        doomed.start_agent()
        until(lambda: not frozen(cluster, job), "it goes on", seconds=30)
        before = int(count.read_text())
        until(lambda: int(count.read_text() or 0) > before, "it counts again", seconds=30)
        assert job_state(cluster, job) == "RUNNING"
