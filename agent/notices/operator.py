"""The notice that a person gives: `hpc-agent evacuate` and `hpc-agent cancel`."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Final

from agent.model.notice import Notice, NoticeKind
from agent.notices.source import Sighting

IDLE_INTERVAL: Final = 600.0
"""Seconds. Nothing can appear here unasked: whoever calls `evacuate` or `cancel` wakes the watcher."""


class OperatorSource:
    """Shows what was last asked for. Remembers nothing over a restart: `restored` are the notices of the journal."""

    name = "operator"
    interval = IDLE_INTERVAL

    def __init__(self, restored: Iterable[Notice] = ()) -> None:
        ends = [notice.ends_at for notice in restored if notice.source == self.name]
        self._ends_at = min(ends, default=None)

    def evacuate(self, ends_at: datetime) -> None:
        """Be noticed, or move the end of the notice that stands."""
        self._ends_at = ends_at

    def cancel(self) -> bool:
        """Withdraw the notice; return whether there was one."""
        stood = self._ends_at is not None
        self._ends_at = None
        return stood

    async def look(self) -> Sequence[Sighting]:
        if self._ends_at is None:
            return ()
        return (Sighting(id=self.name, kind=NoticeKind.OPERATOR, ends_at=self._ends_at, source=self.name),)
