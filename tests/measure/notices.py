"""How long a notice takes: from its appearance in IMDS to DRAIN in Slurm, on a real node, many times.

`make notices` runs it; docs/measurements.md has what it said. A notice appears at a random moment between two polls.
All times are of the host's monotonic clock, which the nodes share: the emulated IMDS says when the notice appeared and
when it answered, /proc shows the agent's first scontrol, and a process on the head asks scontrol every 10 ms.
"""

import argparse
import random
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from agent.demo.cluster import Cluster
from agent.demo.stage import Bucket, Instance

POLL = 1.0
TARGET = POLL + 0.5
FIRST_CHILD = 0.25
"""Seconds: from the answer of IMDS to the first scontrol (P1)."""

EYE = """
import subprocess, sys, time
for line in sys.stdin:
    while True:
        asked = time.monotonic()
        record = subprocess.run(["scontrol", "show", "node", "-o", "n1"], capture_output=True, text=True).stdout
        if "DRAIN" in record:
            break
        time.sleep(max(0, asked + 0.01 - time.monotonic()))
    print(time.monotonic(), flush=True)
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """Monotonic times of one notice."""

    appeared: float
    answered: float
    asked_slurm: float
    drained: float


class FirstChild:
    """Looks at the children of a process every half millisecond, and notes when a scontrol is first among them."""

    def __init__(self, pid: int) -> None:
        self._children = Path(f"/proc/{pid}/task/{pid}/children")
        self.at = 0.0
        self._thread = threading.Thread(target=self._look, name="first child", daemon=True)
        self._thread.start()

    def _look(self) -> None:
        while not any(map(_is_scontrol, self._children.read_text().split())):
            time.sleep(0.0005)
        self.at = time.monotonic()

    def wait(self) -> float:
        self._thread.join(30)
        return self.at


def _is_scontrol(pid: str) -> bool:
    try:
        return Path(f"/proc/{pid}/comm").read_text() == "scontrol\n"
    except (FileNotFoundError, ProcessLookupError):
        return False


@contextmanager
def stage() -> Iterator[tuple[Instance, subprocess.Popen[str]]]:
    """One real node with the agent, and a process on the head that answers each line with the time of DRAIN."""
    with tempfile.TemporaryDirectory(prefix="hpc-agent-measure-") as folder, Cluster.up(Path(folder) / "lab", 1) as lab:
        bucket = Bucket(lab)
        bucket.start()
        bucket.make()
        with Instance(lab, "n1", instance_id="i-0123456789abcdef0", bucket=bucket) as node:
            pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
            with lab.popen("head", [sys.executable, "-c", EYE], **pipes) as eye:
                yield node, eye
                eye.kill()


def measure(node: Instance, eye: subprocess.Popen[str], chance: random.Random) -> Sample:
    """Give one notice, follow it to DRAIN, take it back."""
    node.until_state("watching", seconds=30)
    time.sleep(POLL * (1 + chance.random()))
    eye.stdin.write("look\n")
    eye.stdin.flush()
    child = FirstChild(node._agent.host_pid)
    appeared = node.imds.interrupt()["mono"]
    drained = float(eye.stdout.readline())
    asked_slurm = child.wait()
    answered = min(
        asked["mono"]
        for asked in node.imds.log()
        if asked["path"].endswith("spot/instance-action") and asked["status"] == 200 and asked["mono"] >= appeared
    )
    node.until_state("resting", seconds=60)
    node.imds.withdraw()
    return Sample(appeared=appeared, answered=answered, asked_slurm=asked_slurm, drained=drained)


def line(name: str, seconds: Sequence[float], target: float | None = None) -> str:
    cuts = statistics.quantiles(seconds, n=20, method="inclusive")
    columns = "".join(f"{value * 1000:9.0f}" for value in (statistics.median(seconds), cuts[18], max(seconds)))
    verdict = "" if target is None else f"{target * 1000:9.0f}  {'kept' if max(seconds) < target else 'MISSED'}"
    return f"{name:<34}{columns}{verdict}"


def report(samples: Sequence[Sample]) -> str:
    """Return the table, in milliseconds."""
    rows = [
        line("notice in IMDS -> DRAIN in Slurm", [s.drained - s.appeared for s in samples], TARGET),
        line("  notice in IMDS -> answer with it", [s.answered - s.appeared for s in samples]),
        line("  answer -> first scontrol (P1)", [s.asked_slurm - s.answered for s in samples], FIRST_CHILD),
        line("  first scontrol -> DRAIN in Slurm", [s.drained - s.asked_slurm for s in samples]),
    ]
    title = f"{f'{len(samples)} notices, ms':<34}" + "".join(f"{name:>9}" for name in ("p50", "p95", "max", "target"))
    return "\n".join([title, *rows])


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.measure.notices", description="from a notice to DRAIN")
    parser.add_argument("--notices", type=int, default=50)
    parser.add_argument("--seed", type=int, default=1)
    chosen = parser.parse_args()
    chance, samples = random.Random(chosen.seed), []
    with stage() as (node, eye):
        for number in range(chosen.notices):
            samples.append(measure(node, eye, chance))
            sys.stderr.write(f"\r{number + 1} of {chosen.notices}")
    sys.stderr.write("\n")
    sys.stdout.write(report(samples) + "\n")
    kept = all(s.drained - s.appeared < TARGET and s.asked_slurm - s.answered < FIRST_CHILD for s in samples)
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
