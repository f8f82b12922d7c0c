"""Stops what a job runs on this node where it is, and lets it go on.

Not by `scontrol suspend`: it makes the node IDLE, and ParallelCluster ends an idle node that is drained; nor by
`scancel --signal=STOP`, which leaves steps running (both measured on 22.05).
"""

import contextlib
import os
import signal
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from agent.slurm.command import Command
from agent.slurm.errors import SlurmRefused, SlurmUnavailable
from agent.slurm.freezer import FreezingGroup, group_of
from agent.slurm.jobs import is_forgotten
from agent.value import value

ROUNDS: Final = 10
"""Looks for processes that were started while the others were stopped; each is a child of some 20 ms."""
STOPPED: Final = frozenset("TtZX")
IN_THE_KERNEL: Final = "D"
NONE: Final = ("There are no steps", "does not exist on node")
"""What listpids says of a job without processes here: when nothing runs, and when only another job does."""


@value
class Processes:
    """The processes of jobs on this node, as its slurmstepds track them. `proc` is where /proc is."""

    scontrol: Command
    proc: Path = Path("/proc")

    async def of(self, job: int) -> list[int]:
        """Return the process ids of a job, by its raw number. Raises SlurmUnavailable, SlurmRefused."""
        try:
            text = await self.scontrol.run("listpids", str(job))
        except (SlurmUnavailable, SlurmRefused) as error:
            if any(text in error.detail for text in NONE) or is_forgotten(error):
                return []
            raise
        words = (line.split() for line in text.splitlines()[1:])
        return sorted({int(word[0]) for word in words if word and word[0].isdigit() and int(word[0]) > 1})

    async def freeze(self, job: int, *, uid: int) -> None:
        """Stop every process of a job that is its user's. Raises SlurmUnavailable when they can't be caught.

        By the freezer where Slurm has put the job into cgroups, else by SIGSTOP. A stopped process starts no other:
        once a look finds nothing that moves, there are no more. What sits in the kernel (D: a disk, or a vfork whose
        child was stopped before its exec) stops when it comes back from there.
        """
        told: set[int] = set()
        for _ in range(ROUNDS):
            found = {pid: self._state(pid) for pid in await self.of(job) if self._owner(pid) == uid}
            groups = {pid: group for pid, group in self._groups(job, found).items() if self._is_all_of(group, uid)}
            frozen = {group for group in set(groups.values()) if group.is_frozen or group.freeze()}
            caught = {pid for pid, group in groups.items() if group in frozen}
            moving = {pid for pid, state in found.items() if state not in STOPPED}
            moving -= {pid for pid in caught if groups[pid].is_frozen}
            if not moving:
                return
            for pid in moving - caught - told:
                self._send(pid, uid, signal.SIGSTOP)
            told |= moving - caught
        if any(found[pid] != IN_THE_KERNEL for pid in moving):
            raise SlurmUnavailable("stop", f"the processes of job {job}", f"new ones after {ROUNDS} rounds")

    async def thaw(self, job: int, *, uid: int) -> None:
        """Let them go on. Raises SlurmUnavailable, SlurmRefused."""
        found = await self.of(job)
        for group in set(self._groups(job, found).values()):
            group.thaw()
        for pid in found:
            self._send(pid, uid, signal.SIGCONT)

    def _groups(self, job: int, pids: Iterable[int]) -> dict[int, FreezingGroup]:
        """Return the cgroups of the job that these processes are in."""
        found = ((pid, group_of(job, pid, self.proc)) for pid in pids)
        return {pid: group for pid, group in found if group is not None}

    def _is_all_of(self, group: FreezingGroup, uid: int) -> bool:
        """Tell whether nobody else's process is in a cgroup: slurmstepd has to answer while its job is frozen."""
        return all(self._owner(pid) in {uid, None} for pid in group.processes())

    def _send(self, pid: int, uid: int, number: signal.Signals) -> None:
        """Signal the process that has this id now, if it is `uid`'s: the number may have been given to another."""
        with contextlib.suppress(OSError):
            handle = os.pidfd_open(pid)
            try:
                if self._owner(pid) == uid:
                    signal.pidfd_send_signal(handle, number)
            finally:
                os.close(handle)

    def _owner(self, pid: int) -> int | None:
        return next((int(value.split()[0]) for value in self._status(pid, "Uid:")), None)

    def _state(self, pid: int) -> str:
        """Return the letter of its state, X when there is no such process (any more)."""
        return next((value.split()[0] for value in self._status(pid, "State:")), "X")

    def _status(self, pid: int, field: str) -> Iterator[str]:
        with contextlib.suppress(OSError):
            text = (self.proc / str(pid) / "status").read_text(errors="replace")
            yield from (line.removeprefix(field) for line in text.splitlines() if line.startswith(field))
