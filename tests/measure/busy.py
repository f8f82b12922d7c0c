"""Whether the agent still hears and acts in time while a copy runs flat out, and four busy loops beside it.

`make busy` runs it on a real Slurm node; docs/performance.md has what it said. Each time a checkpoint that somebody
asked for is under way when a Spot notice appears, and the rescue then copies all of scratch anew. The emulated IMDS,
which stands for hardware, and this process have the right of way on the CPUs; everything else shares them.
"""

import argparse
import contextlib
import itertools
import math
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from agent.cli.socket import follow
from agent.demo.cluster import Cluster
from agent.demo.stage import SOCKET, Bucket, Instance
from tests.fakes.lab import entered, scratch
from tests.measure.notices import FIRST_CHILD, FirstChild
from tests.measure.table import markdown
from tests.measure.workloads import KIB, MIB, Kind, Workload

POLL = 0.1
"""Seconds between two polls: ten times as many as by default, for as many samples."""
LATE = 0.05
WORK = Workload(
    name="job", kinds=[Kind(name="shards", count=60, size=20 * MIB), Kind(name="logs", count=10_000, size=20 * KIB)]
)
SCRATCH = "2g"
ABOVE = -10
"""Niceness of what is not under test."""
LOOP = "import os; os.setpriority(os.PRIO_PROCESS, 0, 0)\nwhile True: pass"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rescue:
    """One notice: how late each poll came while its rescue copied, and when it made the agent act; seconds."""

    late: Sequence[float]
    asked_slurm: float
    copied_for: float


@contextlib.contextmanager
def stage() -> Iterator[Instance]:
    """One real node with the agent and a full scratch."""
    with (
        tempfile.TemporaryDirectory(prefix="hpc-agent-measure-") as folder,
        Cluster.up(Path(folder) / "lab", 1, scratch=SCRATCH) as lab,
    ):
        bucket = Bucket(lab)
        bucket.start()
        bucket.make()
        WORK.make(scratch(lab, "n1"))
        faster = f'[imds]\npoll_interval = "{POLL * 1000:.0f}ms"\n'
        with Instance(lab, "n1", instance_id="i-0123456789abcdef0", bucket=bucket, settings=faster) as node:
            os.setpriority(os.PRIO_PROCESS, node._imds.host_pid, ABOVE)
            yield node


@contextlib.contextmanager
def busy_loops(count: int) -> Iterator[None]:
    """Run that many processes that never rest, as jobs do."""
    with contextlib.ExitStack() as stack:
        for _ in range(count):
            loop = stack.enter_context(subprocess.Popen([sys.executable, "-c", LOOP]))
            stack.callback(loop.kill)
        yield


def observe(node: Instance, chance: random.Random) -> Rescue:
    """Have a checkpoint run, give one notice, follow its rescue to the end, take the notice back."""
    node.until_state("watching", seconds=60)
    change(scratch(node.cluster, node.name))
    asked = follow(str(node.cluster.inside(node.name, SOCKET)), {"op": "checkpoint"}, seconds=60)
    next(answer for answer in asked if answer.get("progress", {}).get("bytes_sent"))
    time.sleep(chance.random())
    child = FirstChild(node._agent.host_pid)
    appeared = node.imds.interrupt()["mono"]
    with contextlib.closing(asked):
        node.until_state("resting", seconds=150)
    began, ended = entered(node, "copying"), entered(node, "committing")
    polls = [one for one in node.imds.log() if one["path"].endswith("spot/instance-action")]
    answered = min(one["mono"] for one in polls if one["status"] == 200 and one["mono"] >= appeared)
    node.imds.withdraw()
    return Rescue(
        late=lateness([one["mono"] for one in polls if began <= one["mono"] <= ended]),
        asked_slurm=child.wait() - answered,
        copied_for=ended - began,
    )


def change(tree: Path) -> None:
    """Make every file one that has to be saved again."""
    for path in tree.rglob("*"):
        if path.is_file():
            os.utime(path)


def lateness(polls: Sequence[float]) -> list[float]:
    """Return by how much each poll came later than one interval after the poll before it."""
    return [max(0.0, later - earlier - POLL) for earlier, later in itertools.pairwise(polls)]


def rows(name: str, rescues: Sequence[Rescue]) -> list[list[str]]:
    late = [one for rescue in rescues for one in rescue.late]
    acted = [rescue.asked_slurm for rescue in rescues]
    return [
        [name, f"poll later than due ({len(late):,} polls)", *_cells(late, _p99(late), LATE)],
        [name, f"answer -> first scontrol ({len(acted)} notices)", *_cells(acted, max(acted), FIRST_CHILD)],
    ]


def _p99(values: Sequence[float]) -> float:
    return sorted(values)[math.ceil(len(values) * 0.99) - 1]


def _cells(values: Sequence[float], judged: float, target: float) -> list[str]:
    shown = [f"{value * 1000:.0f}" for value in (statistics.median(values), _p99(values), max(values))]
    return [*shown, f"{target * 1000:.0f}" + ("" if judged < target else " MISSED")]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.measure.busy", description="polls and notices beside a copy")
    parser.add_argument("--notices", type=int, default=8, help="with and without the loops")
    parser.add_argument("--loops", type=int, default=4)
    parser.add_argument("--seed", type=int, default=1)
    chosen = parser.parse_args()
    chance, table = random.Random(chosen.seed), []
    with stage() as node:
        os.setpriority(os.PRIO_PROCESS, 0, ABOVE)
        for name, loops in (("a copy", 0), (f"a copy and {chosen.loops} busy loops", chosen.loops)):
            with busy_loops(loops):
                rescues = [observe(node, chance) for _ in range(chosen.notices)]
            table += rows(name, rescues)
            copied = statistics.median(rescue.copied_for for rescue in rescues)
            sys.stderr.write(f"{name}: {copied:.1f} s of copying at each notice (median)\n")
    sys.stdout.write(markdown(["beside", "ms", "p50", "p99", "max", "target"], table) + "\n")
    return 1 if any("MISSED" in row[-1] for row in table) else 0


if __name__ == "__main__":
    sys.exit(main())
