"""The instance tag `hpc-agent:evacuate-by`: how whatever IMDS does not carry reaches the node without an API call."""

from collections.abc import Sequence
from typing import Final

from agent.imds import documents
from agent.imds.identity import identify
from agent.imds.metadata import Metadata
from agent.model.node import Identity
from agent.model.notice import NoticeKind
from agent.notices.source import Sighting

INTERRUPTIBLE: Final = "interruptible"
"""What the life cycle of such a reservation holds: "interruptible-capacity-reservation" in the EC2 API. Its two minutes
of warning go to EventBridge only. How IMDS spells it is not documented."""
OTHERS: Final = frozenset({"", "spot", "on-demand", "scheduled", "capacity-block"})
"""Life cycles that are known not to be that."""

URGENT_INTERVAL: Final = 1.0
CALM_INTERVAL: Final = 5.0
"""Seconds. Where the tag may bring the two minutes it is what Spot's notice is elsewhere, and Spot's is read rarely
there. On every other node it is an operator's word. So either kind of node stays well under 0.2 % of a core: 0.13 %
measured on both."""


class TagSource:
    """Shows the tag's time while it is there. It is absent (404) where tags in IMDS are switched off, the default."""

    name = "instance-tag"

    def __init__(self, imds: Metadata, *, identity: Identity | None = None) -> None:
        self._imds = imds
        self._identity = identity

    @property
    def interval(self) -> float:
        return CALM_INTERVAL if self._life_cycle in OTHERS else URGENT_INTERVAL

    @property
    def _life_cycle(self) -> str:
        return "" if self._identity is None else self._identity.life_cycle

    async def look(self) -> Sequence[Sighting]:
        if self._identity is None:
            self._identity = await identify(self._imds)
        urgent = self._life_cycle not in OTHERS
        ends_at = await self._imds.read(documents.EVACUATE_BY, documents.evacuate_by, urgent=urgent)
        if ends_at is None:
            return ()
        is_reservation = INTERRUPTIBLE in self._life_cycle
        kind = NoticeKind.INTERRUPTIBLE_RESERVATION if is_reservation else NoticeKind.OPERATOR
        return (Sighting(id=self.name, kind=kind, ends_at=ends_at, source=self.name),)
