"""The rebalance recommendation: EC2 thinks that this Spot instance is more likely than others to be interrupted."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Final

from agent.clock import stamp
from agent.imds import documents
from agent.imds.metadata import Metadata
from agent.model.notice import NoticeKind
from agent.notices.source import Sighting

INTERVAL: Final = 10.0
"""Seconds. EC2 sends it on a best effort, before the interruption notice or with it."""

FRESH_FOR: Final = timedelta(hours=1)
"""How old a recommendation may be when it is first seen. It names no end, only when it was made: an agent that was
installed or started minutes later still saves ahead, and one that finds it hours later is on an instance that has
outlived it."""


class RebalanceSource:
    """Shows the recommendation. The same time is the same one over restarts; another time is another one."""

    name = "rebalance"
    interval = INTERVAL

    def __init__(self, imds: Metadata) -> None:
        self._imds = imds

    async def look(self) -> Sequence[Sighting]:
        made = await self._imds.read(documents.REBALANCE, documents.rebalance)
        if made is None:
            return ()
        return (
            Sighting(
                id=f"{self.name}:{stamp(made)}",
                kind=NoticeKind.REBALANCE,
                ends_at=made,
                source=self.name,
                fresh_for=FRESH_FOR,
            ),
        )
