"""Whether Slurm's Epilog waits for us here, and its Prolog calls us, found out before anybody needs to know."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Final

from agent.daemon.capabilities import Capabilities, Name
from agent.daemon.whoami import Whoami
from agent.errors import AgentError
from agent.processes import Processes
from agent.slurm.barrier import Barrier, calls_us, find_barrier, scripts
from agent.slurm.errors import SlurmUnavailable
from agent.slurm.parse import config

AGAIN: Final = 10.0
"""Seconds to the next look while Slurm has not answered."""
REFRESH: Final = 300.0
"""Seconds between looks: an operator installs the Epilog, or takes it away."""

LEAST: Final = 120.0
"""Seconds that Slurm has to give an Epilog: one that it cuts before the files are committed is no barrier."""


class BarrierWatch:
    """Looks again and again, but while `is_idle`: an evacuation goes on by what was known when it began."""

    def __init__(
        self, *, whoami: Whoami, processes: Processes, capabilities: Capabilities, is_idle: Callable[[], bool]
    ) -> None:
        self._whoami = whoami
        self._processes = processes
        self._capabilities = capabilities
        self._is_idle = is_idle
        self.known: Barrier | None = None

    @property
    def is_up(self) -> bool:
        """Whether the node is kept until the files are committed; not known is no (P5)."""
        return self.known is not None and _holds(self.known)

    @property
    def limit(self) -> float | None:
        """Slurm's time-out for an Epilog, None without one."""
        return None if self.known is None else self.known.seconds

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            if self.known is None or self._is_idle():
                await self._look()
            await asyncio.sleep(AGAIN if self.known is None else REFRESH)

    async def _look(self) -> None:
        node = await self._whoami.slurm_node()
        if node is None:
            self._capabilities.off(Name.BARRIER, "no barrier: no Slurm")
            self._capabilities.off(Name.PROLOG, "no Slurm")
            return
        try:
            values = config(await node.scontrol.show_config())
            self.known = found = await find_barrier(values, self._processes)
        except AgentError as error:
            if self.known is None:
                self._capabilities.off(Name.BARRIER, f"no barrier: {error.subject}: {error.detail}", error.hint)
            return
        await self._look_for_prolog(values)
        if _holds(found):
            self._capabilities.on(Name.BARRIER, found.detail)
        elif found.present:
            detail = f"no barrier: Slurm ends an Epilog after {found.seconds:g} s"
            self._capabilities.off(Name.BARRIER, detail, f"set PrologEpilogTimeout to {LEAST:g} s or more")
        else:
            self._capabilities.off(Name.BARRIER, found.detail, "see docs/jobs.md: an idle node may be taken early")

    async def _look_for_prolog(self, values: Mapping[str, str]) -> None:
        hint = "see docs/jobs.md: jobs start without their files"
        try:
            is_there = await calls_us(scripts(values, "Prolog"), self._processes)
        except SlurmUnavailable as error:
            self._capabilities.off(Name.PROLOG, f"{error.subject}: {error.detail}", hint)
            return
        if is_there:
            self._capabilities.on(Name.PROLOG, "the Prolog gives jobs their files back")
        else:
            self._capabilities.off(Name.PROLOG, "no Prolog of Slurm calls the agent", hint)


def _holds(barrier: Barrier) -> bool:
    return barrier.present and (barrier.seconds is None or barrier.seconds >= LEAST)
