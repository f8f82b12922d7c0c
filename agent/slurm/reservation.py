"""The plain Slurm reservation of a Capacity Block: from the moment its nodes are taken, so that no job runs into it.

One for the block, kept by its nodes together: each sees to it that the reservation is there, begins at the right time
and holds the node itself. Never with the flag MAINT (ParallelCluster kills and relaunches static nodes for ever,
aws-parallelcluster issue 7465). Slurm takes no `Nodes+=` (22.05: "not supported when updating Nodes"), so two nodes
that join at one moment can write over each other: a later look puts that right.
"""

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Final

from agent.errors import AgentError
from agent.model.node import NodeName
from agent.slurm.command import Scontrol
from agent.slurm.errors import SlurmRefused, SlurmUnavailable
from agent.value import value

TRIES: Final = 3
_FIELD: Final = re.compile(r"(\w+)=(\S*)")
_PREFIX: Final = "hpc-agent-"


@value
class Reservation:
    """What `scontrol show reservation -o` said. `nodes` is the host list as Slurm writes it."""

    name: str
    start: datetime
    nodes: str
    is_active: bool


class BlockReservation:
    """The reservation of the Capacity Reservation `reservation_id`."""

    def __init__(self, reservation_id: str, scontrol: Scontrol) -> None:
        self.name = f"{_PREFIX}{reservation_id}"
        self._scontrol = scontrol

    async def read(self) -> Reservation | None:
        """Return the reservation, None when there is none. Raises SlurmUnavailable, SlurmRefused."""
        text = await self._scontrol.run("show", "reservation", "-o")
        try:
            found = {one.name: one for one in reservations(text)}
        except ValueError as error:
            raise SlurmUnavailable("read", f"reservation {self.name}", str(error)) from error
        return found.get(self.name)

    async def ensure(self, node: NodeName | str, *, start: datetime, length: timedelta) -> None:
        """Have the reservation begin at `start` and hold `node`; what is right already is left alone.

        Raises SlurmUnavailable, SlurmRefused when it is not so afterwards.
        """
        failure: AgentError | None = None
        for _ in range(TRIES):
            found = await self.read()
            nodes = [] if found is None else await self._names(found.nodes)
            if found is not None and found.start == _whole(start) and node in nodes:
                return
            failure = await self._change(found, [*nodes, *({node} - set(nodes))], start, length)
        raise failure or SlurmUnavailable("make", f"reservation {self.name}", "others keep changing it")

    async def delete(self) -> None:
        """Have no such reservation. Raises SlurmUnavailable, SlurmRefused when there is one afterwards."""
        failure = await self._try("delete", f"ReservationName={self.name}")
        if failure is not None and await self.read() is not None:
            raise failure

    async def _change(
        self, found: Reservation | None, nodes: list[str], start: datetime, length: timedelta
    ) -> AgentError | None:
        if found is not None and found.is_active and found.start != _whole(start):
            # Slurm moves no reservation that has begun.
            await self._try("delete", f"ReservationName={self.name}")
            found = None
        settings = [
            f"ReservationName={self.name}",
            f"StartTime=uts{int(start.timestamp())}",
            f"Nodes={','.join(nodes)}",
        ]
        if found is not None:
            moved = settings if found.start != _whole(start) else [settings[0], settings[2]]
            return await self._try("update", "reservation", *moved)
        minutes = max(1, round(length / timedelta(minutes=1)))
        return await self._try(
            "create", "reservation", *settings, f"Duration={minutes}", "Users=root", "Flags=ignore_jobs"
        )

    async def _names(self, host_list: str) -> list[str]:
        if "[" not in host_list:
            return [name for name in host_list.split(",") if name]
        return (await self._scontrol.run("show", "hostnames", host_list)).split()

    async def _try(self, *arguments: str) -> AgentError | None:
        """Write; return the failure, because only reading back tells whether it was one."""
        try:
            await self._scontrol.run(*arguments)
        except (SlurmUnavailable, SlurmRefused) as error:
            return error
        return None


def reservations(text: str) -> Iterator[Reservation]:
    """Yield the reservations of `scontrol show reservation -o`. Raises ValueError for one without name or start."""
    for line in text.splitlines():
        if not line.startswith("ReservationName="):
            continue
        fields = dict(_FIELD.findall(line))
        start = datetime.fromisoformat(fields.get("StartTime", ""))
        nodes = fields.get("Nodes", "")
        yield Reservation(
            name=fields["ReservationName"],
            start=start.astimezone(UTC),  # a local time without its zone: scontrol's and ours are the same
            nodes="" if nodes == "(null)" else nodes,
            is_active=fields.get("State") == "ACTIVE",
        )


def _whole(time: datetime) -> datetime:
    return time.replace(microsecond=0)
