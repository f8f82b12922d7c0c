"""What the agent costs a node on which nothing happens: its CPU and memory over minutes, beside a full scratch."""

import argparse
import sys
import tempfile
import time
from pathlib import Path

from tests.fakes.lone import Lone
from tests.measure.table import markdown
from tests.measure.usage import Family, peak
from tests.measure.workloads import Kind, Workload

CORE, MEMORY = 0.002, 80e6
"""At most: of one core; bytes of the control process (P9)."""
FILES = 100_000
WARM = 10.0
"""Seconds in which it may still be starting."""


def measured(minutes: float, files: int) -> str:
    """Return the table of a daemon that was left alone that long, with that many files."""
    with tempfile.TemporaryDirectory(prefix="hpc-agent-idle-") as folder:
        directory = Path(folder)
        tree = Workload(name="tree", kinds=[Kind(name="files", count=files, size=1000)]).make(directory)
        with Lone.running(directory) as running:
            tree.rename(running.scratch / "tree")
            time.sleep(WARM)
            family = Family(running.pid)
            cpu, began = family.cpu, time.monotonic()
            time.sleep(minutes * 60)
            core = (family.cpu - cpu) / (time.monotonic() - began)
            memory = peak(running.pid)
    return markdown(
        [f"idle for {minutes:g} min, {files:,} files", "", "measured", "target"],
        [
            ["all processes of the agent", "of one core", f"{core:.3%}", f"{CORE:.1%}{_verdict(core, CORE)}"],
            ["control", "peak RSS MB", f"{memory / 1e6:.0f}", f"{MEMORY / 1e6:.0f}{_verdict(memory, MEMORY)}"],
        ],
    )


def _verdict(found: float, most: float) -> str:
    return "" if found <= most else " MISSED"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.measure.idle", description="what an idle agent costs")
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--files", type=int, default=FILES)
    chosen = parser.parse_args()
    sys.stdout.write(measured(chosen.minutes, chosen.files) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
