"""Scheduled events: a reboot, a stop or a retirement that AWS announces days ahead, and may call off."""

import logging
from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import Final

from agent.imds import documents
from agent.imds.documents import ScheduledEvent
from agent.imds.metadata import Metadata
from agent.model.notice import Notice, NoticeKind
from agent.notices.source import STALE_AFTER, Sighting

logger = logging.getLogger(__name__)

INTERVAL: Final = 60.0
"""Seconds: events come days ahead."""

OPEN_END: Final = timedelta(days=365)
"""How long an event without NotAfter is believed that is past and still listed as active."""


class EventSource:
    """Shows each event that is neither carried out nor called off; it ends the node at its NotBefore.

    One that is past and still active is due now, until its NotAfter. While an entry can't be read, an event that was
    known and is missing may be that entry: it stays (P5). `restored` are the notices of the journal.
    """

    name = "scheduled-event"
    interval = INTERVAL

    def __init__(self, imds: Metadata, *, restored: Iterable[Notice] = ()) -> None:
        self._imds = imds
        self._known = {notice.id: _sighting_again(notice) for notice in restored if notice.source == self.name}
        self._unreadable = 0

    async def look(self) -> Sequence[Sighting]:
        found = await self._imds.read(documents.SCHEDULED_EVENTS, documents.scheduled_events)
        found = found or documents.ScheduledEvents()
        if found.unreadable != self._unreadable:
            logger.warning("scheduled events: %d entries can't be read", found.unreadable)
            self._unreadable = found.unreadable
        listed = {self._id(event) for event in found.events}
        standing = {self._id(event): self._sighting(event) for event in _latest_first(found.events)}
        kept = {id_: one for id_, one in self._known.items() if found.unreadable and id_ not in listed}
        self._known = standing | kept
        return tuple(self._known.values())

    def _id(self, event: ScheduledEvent) -> str:
        return f"{self.name}:{event.id}"

    def _sighting(self, event: ScheduledEvent) -> Sighting:
        until = None if event.not_after is None else max(event.not_after - event.not_before, timedelta())
        return Sighting(
            id=self._id(event),
            kind=NoticeKind.SCHEDULED_EVENT,
            ends_at=event.not_before,
            source=self.name,
            code=event.code,
            fresh_for=OPEN_END if until is None else until + STALE_AFTER,
            lasts=until or timedelta(),
        )


def _latest_first(events: Iterable[ScheduledEvent]) -> list[ScheduledEvent]:
    """Those that stand; of several entries with one id the earliest comes last, and counts."""
    return sorted((event for event in events if not event.is_over), key=lambda event: event.not_before, reverse=True)


def _sighting_again(notice: Notice) -> Sighting:
    return Sighting(
        id=notice.id,
        kind=notice.kind,
        ends_at=notice.ends_at,
        source=notice.source,
        code=notice.code,
        lasts=timedelta(seconds=notice.lasts),
    )
