"""The notice of a machine that is being shut down, or powered down by Slurm, with a job on it: nothing else tells."""

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta
from typing import Final

from agent.clock import Clock
from agent.errors import PermanentError, TransientError
from agent.model.drain import NodeState
from agent.model.notice import NoticeKind
from agent.notices.source import Sighting

INTERVAL: Final = 60.0
"""Seconds. Slurm has no rate limit for root: a thousand nodes ask their slurmctld 17 times a second."""

INTERVAL_WITHOUT_SLURM: Final = 5.0
"""Nobody is asked then. Until Slurm has said that no job is here there may be one, and the tree is looked at for it."""

STOP_TIME: Final = timedelta(seconds=150)
"""TimeoutStopSec= of our unit: what a shutdown gives us at least, if EC2 leaves it that much."""

POWERING_DOWN: Final = "POWERING_DOWN"
"""POWER_DOWN alone is a wish that Slurm grants when the jobs have ended: it takes nothing from anybody."""


def may_have_job(state: NodeState) -> bool:
    """Return whether work is, may be, or was until a moment ago on the node."""
    return state.base in {"ALLOCATED", "MIXED", "UNKNOWN"} or "COMPLETING" in state.flags


class ShutdownSource:
    """Shows what `stopping` was told, and our node when Slurm powers it down with a job on it.

    `read` returns our node in Slurm, None where there is no Slurm or it is not known yet.
    """

    name = "shutdown"

    def __init__(self, read: Callable[[], Awaitable[NodeState | None]], clock: Clock) -> None:
        self._read = read
        self._clock = clock
        self._has_slurm = False
        self._stopping = False
        self._ends_at: datetime | None = None

    @property
    def interval(self) -> float:
        return INTERVAL if self._has_slurm else INTERVAL_WITHOUT_SLURM

    def stopping(self) -> None:
        """The machine is being shut down: there is no way back from that."""
        self._stopping = True

    async def look(self) -> Sequence[Sighting]:
        if not self._stopping and not await self._is_powered_down():
            self._ends_at = None
            return ()
        self._ends_at = self._ends_at or self._clock.now() + STOP_TIME
        return (Sighting(id=self.name, kind=NoticeKind.SHUTDOWN, ends_at=self._ends_at, source=self.name),)

    async def _is_powered_down(self) -> bool:
        self._has_slurm = True  # also where it does not answer
        try:
            state = await self._read()
        except PermanentError as error:
            raise TransientError(error.op, error.subject, error.detail, hint=error.hint) from error
        self._has_slurm = state is not None
        return state is not None and POWERING_DOWN in state.flags and may_have_job(state)
