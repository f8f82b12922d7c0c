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
SAMPLES = Path(__file__).parents[1] / "golden" / "slurm" / "22.05"
WARM = 180.0
"""Seconds in which it may still be starting and looks at the tree: at once, and when the last job is a minute ago, but
no sooner than a hundred times what the first look took.
"""


def measured(minutes: float, files: int) -> str:
    """Return the table of a daemon that was left alone that long, with that many files."""
    with tempfile.TemporaryDirectory(prefix="hpc-agent-idle-") as folder:
        directory = Path(folder)
        tree = Workload(name="tree", kinds=[Kind(name="files", count=files, size=1000)]).make(directory)
        variables = {"HPC_AGENT_SLURM__BIN_DIR": str(without_jobs(directory / "bin")), "HPC_AGENT_NODE__NAME": "n1"}
        with Lone.running(directory, tree=tree, **variables) as running:
            time.sleep(WARM)
            family = Family(running.pid)
            cpu, began = family.cpu, time.monotonic()
            time.sleep(minutes * 60)
            core = (family.cpu - cpu) / (time.monotonic() - began)
            memory = peak(running.pid)
    return markdown(
        [f"idle for {minutes:g} min, {files:,} files", "", "measured", "target"],
        [
            ["starting, and the two looks at the tree", "CPU s", f"{cpu:.2f}", ""],
            ["all processes of the agent", "of one core", f"{core:.3%}", f"{CORE:.1%}{_verdict(core, CORE)}"],
            ["control", "peak RSS MB", f"{memory / 1e6:.0f}", f"{MEMORY / 1e6:.0f}{_verdict(memory, MEMORY)}"],
        ],
    )


def without_jobs(directory: Path) -> Path:
    """Make a scontrol that says that node n1 is IDLE, as Slurm 22.05 says it; without Slurm any job might run."""
    directory.mkdir()
    script = directory / "scontrol"
    script.write_text(f"#!/bin/sh\ncase $* in *config*) cat {SAMPLES}/config.txt;; *) cat {SAMPLES}/idle.txt;; esac\n")
    script.chmod(0o755)
    return directory


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
