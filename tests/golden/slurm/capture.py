"""Writes the samples of the installed Slurm version from a real cluster: `python tests/golden/slurm/capture.py`."""

import re
import tempfile
from pathlib import Path

from agent.demo.cluster import Cluster
from agent.slurm.jobs import COLUMNS, TEXTS, columns

OURS = "hpc-agent: spot-terminate i-0123456789abcdef0 boot=1a2b3c4d until=2026-11-23T09:17:00Z"


def samples(lab):
    def scontrol(*arguments):
        return lab.run("n1", ["scontrol", *arguments]).stdout

    def change(*settings):
        lab.run("n1", ["scontrol", "update", "NodeName=n1", *settings], check=True)
        return scontrol("show", "node", "-o", "n1")

    yield "idle", scontrol("show", "node", "-o", "n1")
    yield "three-nodes", scontrol("show", "node", "-o")
    yield "idle-drain-ours", change("State=DRAIN", f"Reason={OURS}")
    yield "reason-of-lines", change("State=DRAIN", "Reason=first = 1\n\nState=IDLE second  line")
    yield "comment-that-lies", change(f"Comment=x Reason={OURS} [root@2026-11-23T09:10:35]", "Extra=e State=DOWN")
    yield "undrained-not-responding", change("State=UNDRAIN")
    lab.settle()
    yield "lying-comment-without-reason", scontrol("show", "node", "-o", "n1")
    lab.run("head", ["sbatch", "-w", "n1", "-D", "/shared/home", "--wrap", "sleep 60"], user="alice", check=True)
    while "State=MIXED" not in scontrol("show", "node", "-o", "n1"):
        pass
    yield "mixed-drain", change("State=DRAIN", "Reason=disk [sda] broken [see #7] a=b", "Comment=", "Extra=")
    yield "config", scontrol("show", "config")
    submit = ["sbatch", "-w", "n1,n3", "-N", "2", "--array=4", "--no-requeue", "-J", "two\nlines", "-D", "/shared/home"]
    lab.run("n1", ["scontrol", "update", "NodeName=n1", "State=UNDRAIN"], check=True)
    lab.settle()
    lab.run("head", [*submit, "--comment=grüße", "--wrap", "sleep 60"], user="alice", check=True)
    while len(listed := lab.run("n1", ["squeue", "-h", "-w", "n1", "-O", columns(COLUMNS)]).stdout.splitlines()) < 2:
        pass
    yield "jobs", "\n".join([*listed, ""])
    lab.run("n1", ["scontrol", "update", "JobId=2_4", "AdminComment=ours"], check=True)
    yield "job-texts", lab.run("n1", ["squeue", "-h", "-w", "n1", "-O", columns(TEXTS, "|mark|")]).stdout
    scontrol("update", "NodeName=n2", "State=DRAIN", f"Reason={OURS}")
    lab.controller_stop()
    lab.controller_start()
    yield "unknown-drain", scontrol("show", "node", "-o", "n2")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary, Cluster.up(Path(temporary) / "lab", 3) as cluster:
        version = re.search(r"\d+\.\d+", cluster.run("n1", ["scontrol", "--version"]).stdout)
        for name, text in samples(cluster):
            (Path(__file__).parent / version[0] / f"{name}.txt").write_text(text)
