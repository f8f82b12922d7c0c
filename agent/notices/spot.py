"""The Spot interruption notice: two minutes, or none at all when the action is hibernate."""

import logging
from collections.abc import Sequence
from datetime import datetime
from typing import Final

from agent.clock import stamp
from agent.imds import documents
from agent.imds.identity import identify
from agent.imds.metadata import Metadata
from agent.model.node import Identity
from agent.notices.source import Sighting

logger = logging.getLogger(__name__)

CALM_INTERVAL: Final = 10.0
"""Seconds between looks at whatever is not expected to bring a notice on this node."""


class SpotSource:
    """Looks at `spot/instance-action`, every `interval_when_spot` seconds while this is, or may be, a Spot node.

    The id of its notice is "spot:" and the instance id, and nothing of its content: EC2 interrupts an instance once, so
    another time or another action is that same notice, changed, and has to keep the evacuation it has begun. (A
    stopped instance that is started and interrupted again is another boot, with another journal.)
    """

    name = "spot"

    def __init__(self, imds: Metadata, *, interval_when_spot: float = 1.0, identity: Identity | None = None) -> None:
        self._imds = imds
        self._interval_when_spot = interval_when_spot
        self.identity = identity

    @property
    def interval(self) -> float:
        may_be_spot = self.identity is None or self.identity.life_cycle == "" or self.identity.is_spot
        return self._interval_when_spot if may_be_spot else CALM_INTERVAL

    async def look(self) -> Sequence[Sighting]:
        if self.identity is None:
            self.identity = await identify(self._imds)
        action = await self._imds.read(documents.INSTANCE_ACTION, documents.instance_action, urgent=True)
        if action is None:
            return ()
        id_ = f"{self.name}:{self.identity.instance_id}"
        return (Sighting(id=id_, kind=action.kind, ends_at=action.time, source=self.name),)


class TerminationTime:
    """Looks at `spot/termination-time`, which only confirms: it never shows a notice (P5).

    It can hold junk when there is none, and a time long past when EC2 failed to terminate. It is a source of its own so
    that it can neither delay nor break the look at `spot/instance-action`.
    """

    name = "spot-termination-time"
    interval = CALM_INTERVAL

    def __init__(self, imds: Metadata) -> None:
        self._imds = imds
        self._said: datetime | None = None

    @property
    def said(self) -> datetime | None:
        """The time that stands there now; None when there is none, or junk."""
        return self._said

    async def look(self) -> Sequence[Sighting]:
        said = await self._imds.read(documents.TERMINATION_TIME, documents.termination_time)
        if said != self._said:
            logger.info("spot/termination-time says %s", "nothing any more" if said is None else stamp(said))
            self._said = said
        return ()
