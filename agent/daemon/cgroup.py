"""Groups of processes with a weight each, below the unit's own: so that control is never starved by its copiers.

systemd gives the unit a cgroup and the right to divide it (Delegate=). A group that has controllers for those below it
holds no process of its own, so control goes into one too. All of it is v2; without it copiers have their niceness.
"""

from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Final

from agent.errors import PermanentError

HINT: Final = "cgroup v2 and the unit's Delegate= divide the processor; without them copiers are only niced"


class Group(StrEnum):
    CONTROL = "control"
    BACKGROUND = "background"
    RESCUE = "rescue"


WEIGHTS: Final[Mapping[Group, int]] = {Group.CONTROL: 100, Group.BACKGROUND: 20, Group.RESCUE: 200}
"""Of the processor and of disks, beside each other; 100 is what the kernel gives when nobody says."""


class NotDivided(PermanentError):
    """The processor can't be shared out here."""


def own_group(cgroups: str, mounts: str) -> Path | None:
    """Return this process's cgroup v2 from /proc/self/cgroup and /proc/self/mounts, None where there is none."""
    top = next((line.split()[1] for line in mounts.splitlines() if line.split()[2:3] == ["cgroup2"]), None)
    name = next((line[3:] for line in cgroups.splitlines() if line.startswith("0::")), None)
    return None if top is None or name is None else Path(top) / name.lstrip("/")


def divide(own: Path | None, pid: int) -> Mapping[Group, Path]:
    """Make the groups below `own` and put `pid`, which must be alone there, into that of control.

    Return where each copier goes. Raises NotDivided; then nothing has changed that matters.
    """
    try:
        if own is None:
            raise NotDivided("divide", "the processor", "there is no cgroup v2 here", hint=HINT)
        controllers = sorted({"cpu", "io"} & set((own / "cgroup.controllers").read_text().split()))
        if "cpu" not in controllers:
            raise NotDivided("divide", str(own), "it has no cpu controller", hint=HINT)
        if (own / "cgroup.procs").read_text().split() != [str(pid)]:
            raise NotDivided("divide", str(own), "other processes are in it: it is not the unit's own", hint=HINT)
        groups = _made(own, pid, controllers)
    except OSError as error:
        raise NotDivided("divide", str(own), error.strerror or repr(error), hint=HINT) from error
    return groups


def _made(own: Path, pid: int, controllers: list[str]) -> Mapping[Group, Path]:
    groups = {group: own / group for group in Group}
    for path in groups.values():
        path.mkdir(exist_ok=True)
    (groups[Group.CONTROL] / "cgroup.procs").write_text(str(pid))
    (own / "cgroup.subtree_control").write_text(" ".join(f"+{name}" for name in controllers))
    for group, path in groups.items():
        for name in controllers:
            weight = path / f"{name}.weight"
            if name == "cpu" or weight.exists():  # disks have one only with some schedulers
                weight.write_text(str(WEIGHTS[group]))
    return groups
