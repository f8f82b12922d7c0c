"""How long a rescue takes once the node was saved ahead: 20 GB of which a hundredth changes just before the notice.

`make ahead` runs the daemon as on a Spot node without Slurm, with its default settings but for the quiet time, and an
S3 (sink.c) that takes no more than a given rate over all connections. docs/performance.md has what it said.
"""

import argparse
import sys
import tempfile
import time
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from tests.fakes.lone import Lone
from tests.measure import authority
from tests.measure.sink import build, sink
from tests.measure.table import markdown
from tests.measure.workloads import KIB, MIB, Kind, Workload

TARGET = 10.0
"""Seconds from the notice to COMPLETE."""
SETTLED = 65.0
"""Seconds after which the times of a file are believed."""
SHARE = 100
"""One file of so many changes."""
TREE = Workload(
    name="tree",
    kinds=[Kind(name="shards", count=1000, size=16 * MIB), Kind(name="small", count=32_000, size=100 * KIB)],
)
"""20 GB."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rescue:
    """Bytes sent ahead, left unsaved by that, and sent by the rescue; `seconds` from the notice to the end."""

    ahead: int
    unsaved: int
    seconds: float
    sent: int
    outcome: str


def measured(directory: Path, tree: Workload, *, rate: int) -> Rescue:
    """Save a tree ahead, change a hundredth of it, give a notice."""
    with sink(build(directory), authority.make(directory), total=rate) as server:
        (directory / "node").mkdir()
        variables = {
            "AWS_ENDPOINT_URL": server.endpoint,
            "AWS_CA_BUNDLE": str(server.bundle),
            "AWS_REGION": "us-east-1",
            "HPC_AGENT_CHECKPOINT__LEAD_QUIET": "0s",
            "HPC_AGENT_IMDS__POLL_INTERVAL": "1s",
        }
        top = tree.make(directory)
        note(f"{tree.bytes / 1e9:.1f} GB are made; their times settle")
        time.sleep(SETTLED)
        with Lone.running(directory / "node", tree=top, **variables) as node:
            note("saving ahead")
            node.until(_is_saved_ahead(tree), seconds=600)
            ahead, unsaved = server.counts()["bytes"], node.status["unsaved"]["bytes"]
            _change(node.scratch / tree.name)
            note("the notice")
            began, wall = time.monotonic(), time.time()
            node.imds.interrupt()
            status, _ = node.until(lambda status: status["state"] == "resting", seconds=120)
            note(_phases(directory / "node" / "log", wall))
            return Rescue(
                ahead=ahead,
                unsaved=unsaved,
                seconds=time.monotonic() - began,
                sent=server.counts()["bytes"],
                outcome=status["outcome"],
            )


def _is_saved_ahead(tree: Workload):
    """A look has seen the tree, and what is unsaved fits the budget."""
    return lambda status: (
        status["checkpoint"] is not None
        and (status["unsaved"] or {}).get("bytes", tree.bytes) < tree.bytes / 2
        and status["ahead"]["why"].startswith("what is unsaved fits")
    )


def _change(top: Path) -> None:
    """Write a byte into one file of SHARE, so that all of it has to be sent again."""
    for number, path in enumerate(sorted(path for path in top.rglob("*") if path.is_file())):
        if number % SHARE == 0:
            with path.open("r+b") as file:
                file.write(b"x")


def _phases(log: Path, began: float) -> str:
    """Return which phase began how many seconds after the notice, as the daemon's log tells."""
    steps = [line.split() for line in log.read_text().splitlines() if " -> " in line and "runner" in line]
    times = [(datetime.fromisoformat(words[0]).timestamp() - began, words[5]) for words in steps]
    return ", ".join(f"{phase} at {at:.1f} s" for at, phase in times if at > 0)


def note(text: str) -> None:
    sys.stderr.write(f"{time.strftime('%H:%M:%S')} {text}\n")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.measure.ahead", description="a rescue after a copy ahead")
    parser.add_argument("--rate", type=int, default=200, metavar="MB/s")
    parser.add_argument("--times-smaller", type=int, default=1, help="a tree of 20 GB, so many times smaller")
    parser.add_argument("--dir", type=Path, help="where the tree is made; a temporary directory")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="hpc-agent-ahead-", dir=chosen.dir) as folder:
        tree = TREE if chosen.times_smaller == 1 else TREE.shrunk(chosen.times_smaller)
        found = measured(Path(folder), tree, rate=chosen.rate * 1_000_000)
    is_met = found.outcome == "COMPLETE" and found.seconds <= TARGET
    head = [f"{tree.bytes / 1e9:.1f} GB, {tree.files:,} files, {chosen.rate} MB/s", "", "measured", "target"]
    rows = [
        ["sent ahead", "GB", f"{found.ahead / 1e9:.2f}", ""],
        ["left unsaved, as what fits the budget", "GB", f"{found.unsaved / 1e9:.2f}", ""],
        ["sent by the rescue", "GB", f"{found.sent / 1e9:.2f}", ""],
        [f"notice -> {found.outcome}", "s", f"{found.seconds:.1f}", f"{TARGET:.0f}" + ("" if is_met else " MISSED")],
    ]
    sys.stdout.write(markdown(head, rows) + "\n")
    return 0 if is_met else 1


if __name__ == "__main__":
    sys.exit(main())
