"""What a piece of work cost the processes that did it: CPU, memory, time."""

import contextlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")
LOOK_EVERY = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """`cpu` (user and system) and `wall` in seconds, `rss` the largest resident size in bytes."""

    cpu: float
    wall: float
    rss: int


class Failed(RuntimeError):
    """A client did not do its work: its cost means nothing."""


LAUNCHER = """
import json, os, sys, time
began = time.monotonic()
child = os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ)
_, status, used = os.wait4(child, 0)
used = (used.ru_utime, used.ru_stime, used.ru_maxrss)
print("\\n" + json.dumps([time.monotonic() - began, os.waitstatus_to_exitcode(status), *used]))
"""
"""Small, because the largest size that the kernel tells of a process begins with that of the one which started it."""


def of_command(argv: Sequence[str], environment: Mapping[str, str], log: Path) -> Cost:
    """Run a command, the first word a path, and return what it and its children cost. Raises Failed."""
    launch = [sys.executable, "-I", "-S", "-c", LAUNCHER, *argv]
    with log.open("w+") as words:
        subprocess.run(launch, env=dict(environment), stdin=subprocess.DEVNULL, stdout=words, stderr=words, check=True)
    *_, last = log.read_text().splitlines()
    wall, code, user, system, kilobytes = json.loads(last)
    if code:
        raise Failed(f"{' '.join(argv)}: exit code {code}\n{log.read_text()[-2000:]}")
    return Cost(cpu=user + system, wall=wall, rss=kilobytes * 1024)


class Family:
    """A running process and its children."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.rss = 0
        """The largest resident size of one of the children seen while `watched`."""

    @property
    def cpu(self) -> float:
        """Seconds that they used so far, those that are gone and were waited for included."""
        return sum(_ticks(pid) for pid in (self.pid, *self.children)) / TICKS

    @property
    def children(self) -> list[int]:
        with contextlib.suppress(OSError):
            return [
                int(pid)
                for task in Path(f"/proc/{self.pid}/task").iterdir()
                for pid in (task / "children").read_text().split()
            ]
        return []

    @contextlib.contextmanager
    def watched(self) -> Iterator[None]:
        """Look at the children's memory until the end of the block."""
        over = threading.Event()
        watcher = threading.Thread(target=self._watch, args=(over,), name="memory")
        watcher.start()
        try:
            yield
        finally:
            over.set()
            watcher.join()

    def _watch(self, over: threading.Event) -> None:
        self.rss = 0
        while not over.wait(LOOK_EVERY):
            self.rss = max([self.rss, *map(peak, self.children)])


def peak(pid: int) -> int:
    """Return the largest resident size that a process had, in bytes; 0 when it is gone."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return 0


def _ticks(pid: int) -> int:
    with contextlib.suppress(OSError):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return sum(map(int, fields[11:15]))  # utime, stime, cutime, cstime
    return 0
