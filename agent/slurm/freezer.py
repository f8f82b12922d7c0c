"""The kernel's freezer, where Slurm's cgroup plugin has put a job's processes: all stop at once, and none gets away.

Version 2 has `cgroup.freeze` in every cgroup, version 1 a hierarchy of its own. What is frozen is the cgroup that a
process is in (`.../job_7/step_0/user/task_0`, `.../job_7/step_0`), never the job's: slurmstepd lives there, and has to
answer Slurm.
"""

import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_ESCAPE: Final = re.compile(r"\\([0-7]{3})")


@dataclass(frozen=True, slots=True)
class FreezingGroup:
    """A cgroup that can be frozen: `yes` and `no` are written into `file`; `done`, a line of `told_in`, says it is."""

    file: Path
    told_in: Path
    yes: str
    no: str
    done: str

    def freeze(self) -> bool:
        """Have it freeze; tell whether the kernel took the word."""
        return self._write(self.yes)

    def thaw(self) -> None:
        """Let it go on. One that is gone needs no more."""
        self._write(self.no)

    @property
    def is_frozen(self) -> bool:
        """Whether all processes in it have stopped; one that sits in the kernel has when it comes back from there."""
        try:
            return self.done in self.told_in.read_text().splitlines()
        except OSError:
            return False

    def _write(self, word: str) -> bool:
        try:
            self.file.write_text(word)
        except OSError:  # read-only, gone, or of a kernel without a freezer
            return False
        return True

    def processes(self) -> list[int]:
        """Return the process ids in it."""
        with suppress(OSError, ValueError):
            return [int(line) for line in (self.file.parent / "cgroup.procs").read_text().split()]
        return []


def group_of(job: int, pid: int, proc: Path) -> FreezingGroup | None:
    """Return the cgroup of a process, if its path names the job and it can be frozen. Blocking, a moment."""
    try:
        groups = (proc / str(pid) / "cgroup").read_text(errors="replace")
        mounts = (proc / "self" / "mountinfo").read_text(errors="replace")
    except OSError:
        return None
    for controllers, path in _named(groups, job):
        is_v1 = "freezer" in controllers
        top = next(_tops(mounts, is_v1=is_v1), None) if is_v1 or not controllers else None
        if top is None or not path.startswith(top[1]):
            continue
        folder = top[0] / path.removeprefix(top[1]).lstrip("/")
        found = _version_1(folder) if is_v1 else _version_2(folder)
        if found.file.exists():
            return found
    return None


def _named(groups: str, job: int) -> Iterator[tuple[list[str], str]]:
    """Yield the controllers (none: version 2) and the path of each line that names the job: `6:freezer:/.../job_7/...`.

    Both hierarchies may have it; the freezer of version 1, where there is one, comes before version 2, whose line is
    the last.
    """
    for line in groups.splitlines():
        _, controllers, path = line.split(":", 2)
        if f"job_{job}" in path.split("/") and ".." not in path.split("/"):
            yield controllers.split(",") if controllers else [], path


def _tops(mounts: str, *, is_v1: bool) -> Iterator[tuple[Path, str]]:
    """Yield where a hierarchy is mounted, and which of its paths is there."""
    for line in mounts.splitlines():
        ours, _, kind = line.partition(" - ")
        words, (type_, *_, options) = ours.split(), kind.split()
        if (type_ == "cgroup" and "freezer" in options.split(",")) if is_v1 else type_ == "cgroup2":
            yield Path(_plain(words[4])), "" if words[3] == "/" else _plain(words[3])


def _plain(path: str) -> str:
    return _ESCAPE.sub(lambda match: chr(int(match[1], 8)), path)


def _version_1(folder: Path) -> FreezingGroup:
    state = folder / "freezer.state"
    return FreezingGroup(state, state, "FROZEN", "THAWED", "FROZEN")


def _version_2(folder: Path) -> FreezingGroup:
    return FreezingGroup(folder / "cgroup.freeze", folder / "cgroup.events", "1", "0", "frozen 1")
