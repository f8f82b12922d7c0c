"""What it costs to find out that nothing changed: a second checkpoint of a large tree, through the running daemon."""

import os
import time
from pathlib import Path

from agent.scratch.settled import QUIET_SECONDS
from tests.measure.clients import checkpoint, daemon
from tests.measure.sink import Server
from tests.measure.table import markdown
from tests.measure.usage import Cost
from tests.measure.workloads import Kind, Workload

FILES = 1_000_000
DROP = Path("/proc/sys/vm/drop_caches")
CPU, RSS = 4.0, 256e6
"""At most: seconds for a million files, bytes of the copier."""


def measured(server: Server, work: Path, files: int) -> str:
    """Return the table of checkpoints of a tree that did not change between them."""
    tree = Workload(name="tree", kinds=[Kind(name="files", count=files, size=100)]).make(work)
    time.sleep(QUIET_SECONDS + 1)  # the times of younger files can't be believed: they would be read again
    with daemon(server, "scan", work) as running:
        tree.rename(running.scratch / "tree")
        first, second, *later = (checkpoint(running) for _ in range(5))
        is_cold = forgotten()
        cold = checkpoint(running)
    most = CPU * files / FILES
    worst = max(later, key=lambda cost: cost.cpu)
    memory = f"{RSS / 1e6:.0f} MB"
    return markdown(
        [f"{files:,} files, the copier's start included", "", "CPU s", "wall s", "peak RSS MB", "target"],
        [
            ["all new", "", *_cells(first), _target(first.rss, RSS, memory)],
            ["all unchanged", "its segments become one", *_cells(second), _target(second.rss, RSS, memory)],
            ["all unchanged", "worst of 3", *_cells(worst), _target(worst.cpu, most, f"{most:g} CPU s")],
            ["all unchanged", "from the disk" if is_cold else "once more", *_cells(cold), ""],
        ],
    )


def forgotten() -> bool:
    """Have the kernel forget names, inodes and pages that it can have from the disk again; return whether it may."""
    os.sync()
    try:
        DROP.write_text("3")
    except OSError:
        return False
    return True


def _cells(cost: Cost) -> list[str]:
    return [f"{cost.cpu:.2f}", f"{cost.wall:.2f}", f"{cost.rss / 1e6:.0f}"]


def _target(found: float, most: float, shown: str) -> str:
    return shown if found <= most else f"{shown} MISSED"
