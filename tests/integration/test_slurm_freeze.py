"""A job that is stopped where it is, on a real node: by the freezer where it is in a cgroup, else by SIGSTOP."""

import sys
import time
from pathlib import Path

import pytest

from tests.fakes.lab import give_back, submit, until

pytestmark = pytest.mark.slurm

PROJECT = Path(__file__).parents[2]
COUNT = "i=0; while :; do i=$((i+1)); echo $i >/scratch/$SLURM_JOB_ID.$SLURM_STEP_ID; sleep 0.02; done"
V1, V2 = "/run/freezer", "/sys/fs/cgroup"
READY = {
    V1: f"mkdir -p {V1} && mount -t cgroup -o freezer freezer {V1}",
    V2: f"mountpoint -q {V2} || mount -t cgroup2 cgroup2 {V2}",
}
TOP = "hpc-agent-test"


class Job:
    """A batch job of alice's on n3 that counts, and a step of it that does."""

    def __init__(self, cluster):
        self.cluster = cluster
        counting = f"bash -c '{COUNT}'"
        self.id = submit(cluster, "n3", f"srun {counting} & {COUNT}")
        until(lambda: len(self.counts()) == 2, "both count", seconds=30)

    def run(self, script):
        return self.cluster.run("n3", ["sh", "-c", script], check=True).stdout

    def do(self, verb):
        argv = [sys.executable, "-m", "tests.fakes.freezing", verb, self.id, "4242"]
        done = self.cluster.run("n3", argv, cwd=str(PROJECT), timeout=30)
        assert done.returncode == 0, done.stderr

    def processes(self):
        shown = self.run(f"scontrol listpids {self.id}").splitlines()[1:]
        return [line.split()[0] for line in shown if line.split()[0] != "-1"]

    def states(self):
        return {self.run(f"grep State: /proc/{pid}/status").split()[1] for pid in self.processes()}

    def counts(self):
        texts = [path.read_text() for path in sorted(self.cluster.inside("n3", "/scratch").glob(f"{self.id}.*"))]
        return [int(text) for text in texts if text]

    def group(self, top, *names):
        """Put its processes into a cgroup of that name, as Slurm's cgroup plugin would."""
        folder = "/".join([top, TOP, f"job_{self.id}", *names])
        self.run(f"{READY[top]}; mkdir -p {folder}")
        for pid in self.processes():
            self.run(f"echo {pid} >{folder}/cgroup.procs || :")  # the sleeps come and go
        until(lambda: self._is_in(folder), "all are in it", seconds=30)
        return folder

    def _is_in(self, folder):
        outside = set(self.processes()) - set(self.run(f"cat {folder}/cgroup.procs").split())
        for pid in outside:
            self.run(f"echo {pid} >{folder}/cgroup.procs || :")
        return not outside

    def stands_still(self):
        before = self.counts()
        time.sleep(0.3)
        return before == self.counts()


@pytest.fixture
def job(cluster):
    yield Job(cluster)
    give_back(cluster, "n3")
    tidy = "".join(f"find {top}/{TOP} -depth -type d -exec rmdir {{}} + 2>/dev/null; " for top in (V1, V2))
    cluster.run("n3", ["sh", "-c", f"{tidy} umount -q {V1} || :"])


@pytest.mark.parametrize(
    ("top", "names", "told", "yes"),
    [(V1, ["step_0"], "freezer.state", "FROZEN"), (V2, ["step_0", "user", "task_0"], "cgroup.events", "frozen 1")],
)
def test_a_job_in_a_cgroup_is_frozen_whole_and_goes_on(job, top, names, told, yes):
    folder = job.group(top, *names)
    job.do("freeze")
    assert yes in job.run(f"cat {folder}/{told}").splitlines()
    assert job.stands_still()
    assert "T" not in job.states()
    assert job.processes()  # slurmstepd answers
    job.do("thaw")
    until(lambda: not job.stands_still(), "it goes on", seconds=30)


@pytest.mark.slow
def test_a_cgroup_with_somebody_elses_process_or_another_jobs_name_is_not_frozen(job):
    folder = job.group(V2, "step_0")
    job.run(f"sleep 60 >/dev/null 2>&1 & echo $! >{folder}/cgroup.procs")
    job.do("freeze")
    assert "frozen 0" in job.run(f"cat {folder}/cgroup.events").splitlines()
    assert job.stands_still()
    assert job.states() == {"T"}
    job.do("thaw")
    until(lambda: not job.stands_still(), "it goes on", seconds=30)


@pytest.mark.slow
def test_a_job_without_a_cgroup_of_its_own_is_stopped_by_signals(job):
    job.do("freeze")
    assert job.stands_still()
    assert job.states() == {"T"}
