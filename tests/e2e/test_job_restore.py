"""A requeued job finds its files again: the shipped Prolog on real nodes, jobs that know nothing of it."""

import re
import resource
import subprocess
import sys

import pytest

from agent.demo.scene import ask_status
from tests.fakes.lab import scratch, until
from tests.fakes.site import count_of, counted

pytestmark = pytest.mark.slurm

NOTHING = {"capabilities": {"slurm": {"on": False}}}


@pytest.fixture(scope="module")
def stopped(site):
    """A job that was stopped on n1 and waits, held, for its next life; its scratch of then is still there."""
    job = site.submit("-w", "n1", "count.sh")
    counted(site, job)
    site.requeue(job, "n1")
    site.run("head", "scontrol", "hold", job)
    yield job
    site.run("head", "scancel", job)


@pytest.fixture
def begin(site, stopped):
    """Runs the shipped Prolog on n2 as Slurm would for the stopped job's next life; returns what the job is told."""

    def run(**environ):
        variables = {
            "SLURM_JOB_ID": stopped,
            "SLURM_JOB_UID": "4242",
            "SLURM_NODELIST": "n2",
            "SLURMD_NODENAME": "n2",
            "SLURM_JOB_RESTART_COUNT": "1",
            **environ,
        }
        site.run("n2", "rm", "-f", f"/run/hpc-agent/restore/{stopped}")
        done = site.cluster.run("n2", ["/shared/slurm/prolog.d/10-hpc-agent.sh"], env=variables, timeout=60)
        assert done.returncode == 0
        told = site.cluster.run("n2", ["cat", f"/run/hpc-agent/restore/{stopped}"]).stdout.strip()
        return told, done.stderr

    yield run
    site.run("n2", "find", "/scratch", "-mindepth", "1", "-delete")
    site.mark(stopped, "")


def test_an_unchanged_job_goes_on_elsewhere_where_it_was_stopped(site):
    job = site.submit("-w", "n1", "count.sh")
    counted(site, job)
    site.drain("n1")
    site.requeue(job, "n1")
    stopped_at = count_of(site, job, node="n1")
    assert site.keep(job, "n1")["kept"]
    site.start(job, "n2")
    said = site.ended(job)
    site.undrain("n1")
    assert f"from {stopped_at} restore complete" in said
    assert "done 30 steps of 0" in said
    found = (scratch(site.cluster, "n2") / job / "steps").stat()
    assert (found.st_uid, found.st_gid) == (4242, 4242)


@pytest.mark.slow
def test_each_rank_gets_its_own_files_also_on_a_node_that_had_another_rank(site):
    job = site.submit("-N2", "-w", "n1,n2", "--wrap", "srun --ntasks-per-node=1 bash /shared/home/count.sh")
    for node in ("n1", "n2"):
        counted(site, job, node=node)
    site.drain("n1")
    site.requeue(job, "n1", "n2")
    counts = [count_of(site, job, node=node) for node in ("n1", "n2")]
    for rank, node in enumerate(("n1", "n2")):
        assert site.keep(job, node, rank=rank, nodes=2)["kept"]
    site.start(job, "n2,n3")
    said = site.ended(job)
    site.undrain("n1")
    for rank in (0, 1):
        assert f"rank {rank} from {counts[rank]} restore complete" in said
        assert f"rank {rank} done 30 steps of {rank}" in said
    aside = scratch(site.cluster, "n2") / f"{job}.hpc-agent-before-life1"
    assert set((aside / "steps").read_text().split()) == {"1"}


def test_p8_a_head_counts_only_when_slurm_vouches_for_it(site, stopped, begin):
    site.keep(stopped, "n1")
    vouched = site.marked(stopped)
    for forged in (vouched[:-64] + "0" * 64, "", vouched.replace("head=0/0/", "head=0/1/")):
        site.mark(stopped, forged)
        # What the user writes is no AdminComment, however it looks in the job's record.
        site.run("n1", "scontrol", "update", f"JobId={stopped}", f"Comment=x AdminComment={vouched}", user="alice")
        assert begin()[0] == "none"
        assert not (scratch(site.cluster, "n2") / stopped).exists()
    site.mark(stopped, vouched)
    assert begin()[0] == "complete"
    assert count_of(site, stopped, node="n2") == count_of(site, stopped, node="n1")


@pytest.mark.slow
def test_p8_a_head_of_another_user_or_life_gives_nothing(site, stopped, begin):
    site.keep(stopped, "n1")
    assert begin(SLURM_JOB_UID="0")[0] == "none"
    assert begin(SLURM_JOB_RESTART_COUNT="0")[0] == ""
    site.mark(stopped, site.marked(stopped).replace("head=0/", "head=1/"))
    assert begin()[0] == "none"
    assert not (scratch(site.cluster, "n2") / stopped).exists()


@pytest.mark.slow
def test_files_that_were_being_written_come_only_to_a_job_that_wants_them(site, stopped, begin):
    site.keep(stopped, "n1", quiesced=False)
    told, said = begin()
    assert (told, "not all of its files at rest" in said) == ("none", True)
    assert begin(SLURM_JOB_COMMENT="hpc-agent:restore=fuzzy")[0] == "partial"
    assert (scratch(site.cluster, "n2") / stopped / "count").exists()


@pytest.mark.slow
def test_of_a_damaged_checkpoint_nothing_comes_but_the_one_before_it(site, stopped, begin):
    site.keep(stopped, "n1")
    newest = site.keep(stopped, "n1")["key"]
    site.damage(newest)
    told, said = begin()
    assert told == "older"
    assert newest.split("/")[4].split(".")[0] in said
    assert count_of(site, stopped, node="n2") == count_of(site, stopped, node="n1")


@pytest.mark.parametrize(("node", "restarts"), [("n1", "0"), ("head", "1")])
def test_a_first_life_and_a_node_without_the_agent_cost_prolog_and_epilog_50_ms_at_most(site, node, restarts):
    runs, scripts = 20, "/shared/slurm/prolog.d/10-hpc-agent.sh && /shared/slurm/epilog.d/90-hpc-agent.sh"
    loop = f"for _ in $(seq {runs}); do {scripts} || exit; done"
    command = site.cluster.command(node, ["sh", "-c", loop], env={"SLURM_JOB_RESTART_COUNT": restarts})
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True, timeout=60)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    # Processor time: what a busy machine adds is not theirs.
    took = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    assert took < runs * 2 * 0.05


@pytest.mark.slow
def test_a_checkpoint_made_by_the_daemon_is_found_again_by_a_job_that_takes_it_as_it_was(site):
    """The whole way with nothing made by the test: daemon, head, AdminComment, Prolog."""
    job = site.submit("-w", "n1", "--comment", "hpc-agent:restore=fuzzy", "count.sh")
    environ = {**site.bucket.environment, "HPC_AGENT_NODE__WRITER": "-", "HPC_AGENT_IMDS__POLL_INTERVAL": "60s"}
    command = [sys.executable, "-m", "agent"]
    daemon = site.cluster.popen("n1", [*command, "run"], env=environ)
    socket = site.cluster.inside("n1", "/run/hpc-agent/agent.sock")
    until(lambda: (ask_status(socket) or NOTHING)["capabilities"]["slurm"]["on"], "it knows its Slurm", seconds=30)
    counted(site, job)
    done = site.cluster.run("n1", [*command, "checkpoint", "--json"], env=environ, timeout=60)
    daemon.kill()
    daemon.wait()
    assert done.returncode in {0, 4}, done.stderr
    assert "head=0/0/" in site.marked(job), done.stdout + done.stderr
    site.requeue(job, "n1")
    site.start(job, "n2")
    found = re.search(r"from (\d+) restore partial", site.ended(job))
    assert found is not None
    assert int(found[1]) > 0
