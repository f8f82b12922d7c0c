"""A cluster whose operator has installed the shipped Prolog and Epilog, and a job that counts in its scratch."""

import itertools
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

from agent.demo.cluster import Cluster
from agent.demo.stage import BUCKET, Bucket, Instance
from tests.fakes import counting
from tests.fakes.lab import begin, give_back, job_state, scratch, state_of, until

PROJECT = Path(__file__).parents[2]
SHIPPED = PROJECT / "packaging" / "slurm"
CONF = """
Prolog=/shared/slurm/prolog.d/*
Epilog=/shared/slurm/epilog.d/*
TaskProlog=/shared/slurm/task_prolog.d/hpc-agent.sh
BatchStartTimeout=60
"""
COMMAND = f'#!/bin/sh\nexec {sys.executable} -m agent "$@"\n'
COUNT = """#!/bin/bash
mkdir -p /scratch/$SLURM_JOB_ID && cd /scratch/$SLURM_JOB_ID || exit 1
count=$(cat count 2>/dev/null || echo 0)
echo "rank $SLURM_PROCID from $count restore ${HPC_AGENT_RESTORE:-not told}"
while [ "$count" -lt 30 ]; do
  count=$((count + 1)); echo "$SLURM_PROCID" >>steps; echo "$count" >count.new; mv count.new count
  # The first life waits for its end, however long a busy machine takes to bring it about.
  if [ "$count" -eq 20 ] && [ -z "$SLURM_RESTART_COUNT" ]; then sleep 600; fi
  sleep 0.1
done
echo "rank $SLURM_PROCID done $(wc -l <steps) steps of $(sort -u steps | tr -d '\\n')"
"""
NUMBERS = itertools.count(1)


class Site:
    """A cluster whose operator has installed the shipped files; no daemon runs until `agent` starts one."""

    def __init__(self, cluster, bucket):
        self.cluster, self.bucket = cluster, bucket
        shutil.copytree(SHIPPED, cluster.shared / "slurm")
        (cluster.shared / "home" / "count.sh").write_text(COUNT)
        (cluster.shared / "home" / counting.SCRIPT_NAME).write_text(counting.SCRIPT)
        for node in cluster.nodes:
            self.equip(node)

    def equip(self, node):
        """Install the agent on a node, which may have been booted just now."""
        self.write(node, "/opt/hpc-agent/current/bin/hpc-agent", COMMAND, mode="755")
        self.write(node, "/etc/hpc-agent/config.toml", f'[s3]\nbucket = "{BUCKET}"\n')
        self.reach(node, self.bucket.endpoint)

    def reach(self, node, endpoint):
        """Have the node's Prolog look for S3 at `endpoint`."""
        values = {**self.bucket.environment, "AWS_ENDPOINT_URL_S3": endpoint}
        variables = "".join(f"{name}={value}\n" for name, value in values.items())
        self.write(node, "/etc/hpc-agent/environment", variables)

    def agent(self, node, *, is_barrier=True, **how):
        """Start the daemon on a node, an instance of its own; return once it knows whether there is a barrier."""
        one = Instance(self.cluster, node, instance_id=f"i-{next(NUMBERS):017x}", bucket=self.bucket, **how)
        one.__enter__()
        try:
            one.until(lambda status: status["capabilities"]["barrier"]["on"] is is_barrier, "the barrier", seconds=40)
        except BaseException:
            one.end()
            raise
        return one

    @contextmanager
    def lent(self) -> Iterator[Callable[..., Instance]]:
        """Lend all nodes: yields `agent`; afterwards they are as they were, and no job is left."""
        made: list[Instance] = []

        def agent(node, **how):
            made.append(self.agent(node, **how))
            return made[-1]

        try:
            yield agent
        finally:
            for one in made:
                one.end()
            self.run("head", "scancel", "--user", "alice")
            for node in self.cluster.nodes:
                give_back(self.cluster, node)
                self.equip(node)

    def write(self, node, path, text, *, mode="644"):
        script = f"mkdir -p {Path(path).parent} /run/hpc-agent && cat >{path} && chmod {mode} {path}"
        subprocess.run(self.cluster.command(node, ["sh", "-c", script]), input=text, text=True, check=True)

    def run(self, node, *argv, user="", check=True):
        return self.cluster.run(node, list(argv), user=user, check=check, timeout=60).stdout.strip()

    def submit(self, *options):
        command = ["sbatch", "--parsable", "-D", "/shared/home", "-o", "/shared/home/%j.out", "--open-mode=append"]
        job = self.run("head", *command, *options, user="alice")
        until(lambda: job_state(self.cluster, job) == "RUNNING", f"job {job} runs", seconds=20)
        return job

    def output(self, job):
        path = self.cluster.shared / "home" / f"{job}.out"
        return path.read_text() if path.exists() else ""

    def said(self, job, rank=0):
        """The lives of a job that runs `counting.SCRIPT`, as far as it has told."""
        return counting.lives(self.cluster.shared / "home", job, rank)

    def stepped(self, job, *ranks, least=5):
        """Wait until these ranks of a job that runs `counting.SCRIPT` have done so many steps."""
        for rank in ranks or (0,):
            until(
                lambda at=rank: (found := self.said(job, at)) and found[-1].did >= least,
                f"rank {rank} steps",
                seconds=30,
            )

    def shown(self, job, field):
        """What squeue shows of a job; "" when Slurm has forgotten it."""
        return self.run("head", "squeue", "-h", "-j", job, "-O", f"{field}:64", check=False)

    def nodes_of(self, job):
        """The nodes that a job is on, in the order of its ranks."""
        return self.run("head", "scontrol", "show", "hostnames", self.shown(job, "NodeList")).split()

    def drain(self, node):
        self.run("head", "scontrol", "update", f"NodeName={node}", "State=DRAIN", "Reason=test")

    def undrain(self, node):
        self.run("head", "scontrol", "update", f"NodeName={node}", "State=UNDRAIN", check=False)

    def requeue(self, job, *nodes):
        """Take the job off its nodes; return once they are rid of it."""
        self.run("head", "scontrol", "requeue", "Incomplete", job)
        for node in nodes:
            until(lambda at=node: state_of(self.cluster, at).startswith("IDLE"), f"{node} is free", seconds=20)
            until(lambda at=node: "COMPLETING" not in state_of(self.cluster, at), f"{node} is rid of it", seconds=20)
        until(lambda: job_state(self.cluster, job) == "PENDING", "requeued", seconds=20)

    def keep(self, job, node, *, rank=0, nodes=1, life=0, **wrong):
        """Save the node's scratch for the job, as the agent would."""
        record = {
            "job": int(job),
            "array": "",
            "user": "alice",
            "uid": 4242,
            "name": "count",
            "life": life,
            "rank": rank,
            "nodes": nodes,
            "node_list": "n[1-2]" if nodes > 1 else node,
            "paths": [f"/scratch/{job}", f"/scratch/alice/{job}"],
            "alone": True,
            "quiesced": True,
            "complete": False,
            "torn": 0,
            **wrong,
        }
        of = {"name": node, "cluster": "lab-0badcafe", "instance_id": f"i-{node}", "boot_id": "b", "writer": "-"}
        return self.python("tests.fakes.keeping", {"job": record, "ref": job, "node": of, "bucket": BUCKET}, node=node)

    def python(self, module, asked, *, node="head"):
        """Run a module of the tests with the rights to the bucket: a JSON document in, one out."""
        argv = [sys.executable, "-m", module]
        command = self.cluster.command(node, argv, env=self.bucket.environment, cwd=str(PROJECT))
        done = subprocess.run(command, input=json.dumps(asked), capture_output=True, text=True, check=False, timeout=60)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def mark(self, job, text):
        self.run("head", "scontrol", "update", f"JobId={job}", f"AdminComment={text}")

    def marked(self, job):
        return self.run("head", "squeue", "-hj", job, "-O", "admin_comment:9999")

    def damage(self, key, *, of=""):
        """Have the store lose the files of the head at `key`: those whose own keys hold `of`."""
        assert self.python("tests.fakes.losing", {"bucket": BUCKET, "head": key, "of": of})

    def start(self, job, nodes):
        """Let a requeued job begin on these nodes, at once, and not only when its old credential has expired."""
        self.run("head", "scontrol", "update", f"JobId={job}", f"ReqNodeList={nodes}")
        begin(self.cluster, job)

    def ended(self, job, *, seconds=60):
        until(lambda: job_state(self.cluster, job) in {"", "COMPLETED", "FAILED"}, f"job {job} ends", seconds=seconds)
        return self.output(job)


def counted(site, job, *, at_least=5, node="n1"):
    path = scratch(site.cluster, node) / job / "count"
    until(lambda: path.exists() and int(path.read_text() or 0) >= at_least, f"{node} counts", seconds=30)


def count_of(site, job, *, node):
    return int((scratch(site.cluster, node) / job / "count").read_text())


@contextmanager
def opened(directory: Path, nodes: int, *, conf: str = "", **how) -> Iterator[Site]:
    """A site of its own: `conf` are lines of slurm.conf that go before ours, `how` what else `Cluster.up` takes."""
    replaced = {line.partition("=")[0] for line in conf.splitlines()}
    ours = "".join(line for line in CONF.splitlines(keepends=True) if line.partition("=")[0] not in replaced)
    with Cluster.up(directory / "lab", nodes, extra_conf=ours + conf, **{"cpus": 8, **how}) as cluster:
        bucket = Bucket(cluster)
        bucket.start()
        bucket.make()
        yield Site(cluster, bucket)
        bucket.stop()


def in_seconds(seconds: float) -> datetime:
    return datetime.now(UTC) + timedelta(seconds=seconds)
