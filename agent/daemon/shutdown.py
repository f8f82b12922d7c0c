"""What a SIGTERM is about: a service that is stopped, or a machine that is, with or without work on it."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Final

from agent.errors import AgentError
from agent.model.drain import NodeState
from agent.notices.shutdown import may_have_job
from agent.processes import Processes

ASK_SYSTEMD: Final = 1.0
ASK_SLURM: Final = 3.0
"""Seconds. A controller that is slow to answer costs the rescue no more than this."""

SYSTEM_STATE: Final = ("systemctl", "is-system-running")


async def is_machine_stopping(processes: Processes) -> bool:
    """Return whether systemd says that it is shutting the machine down; without an answer it is not."""
    try:
        said = await processes.run(SYSTEM_STATE, seconds=ASK_SYSTEMD)
    except AgentError:
        return False
    return said.out.strip() == "stopping"


async def is_job_here(read: Callable[[], Awaitable[NodeState | None]]) -> bool:
    """Return whether a job may be on the node: unknown is yes, a machine without Slurm is no."""
    with contextlib.suppress(AgentError, TimeoutError):
        async with asyncio.timeout(ASK_SLURM):
            state = await read()
            return state is not None and may_have_job(state)
    return True


async def is_work_lost(processes: Processes, read: Callable[[], Awaitable[NodeState | None]]) -> bool:
    """Return whether the machine is being shut down with a job on it."""
    return await is_machine_stopping(processes) and await is_job_here(read)
