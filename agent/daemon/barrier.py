"""Whether Slurm's Epilog waits for us here, found out before anybody needs to know."""

import asyncio
from collections.abc import Callable
from typing import Final

from agent.daemon.capabilities import Capabilities, Name
from agent.daemon.whoami import Whoami
from agent.errors import AgentError
from agent.processes import Processes
from agent.slurm.barrier import Barrier, find_barrier
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
            return
        try:
            self.known = found = await find_barrier(config(await node.scontrol.show_config()), self._processes)
        except AgentError as error:
            if self.known is None:
                self._capabilities.off(Name.BARRIER, f"no barrier: {error.subject}: {error.detail}", error.hint)
            return
        if _holds(found):
            self._capabilities.on(Name.BARRIER, found.detail)
        elif found.present:
            detail = f"no barrier: Slurm ends an Epilog after {found.seconds:g} s"
            self._capabilities.off(Name.BARRIER, detail, f"set PrologEpilogTimeout to {LEAST:g} s or more")
        else:
            self._capabilities.off(Name.BARRIER, found.detail, "see docs/jobs.md: an idle node may be taken early")


def _holds(barrier: Barrier) -> bool:
    return barrier.present and (barrier.seconds is None or barrier.seconds >= LEAST)
