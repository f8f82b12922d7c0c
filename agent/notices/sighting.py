"""From what a source shows to notices: what is new, changed, past or stale. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

from agent.model.notice import Notice
from agent.notices.source import Sighting
from agent.value import value

SKEW_TOLERANCE: Final = 2.0
"""Seconds. The `Date` of IMDS is right to a second or so: a smaller difference says nothing."""


@value
class Instant:
    """One moment: on our wall clock, in `loop.time()`, and the seconds that IMDS is ahead of us, if known."""

    wall: datetime
    mono: float
    skew: float | None = None

    @property
    def corrected(self) -> datetime:
        """The wall time by the clock of IMDS where it differs clearly from ours."""
        if self.skew is None or abs(self.skew) <= SKEW_TOLERANCE:
            return self.wall
        return self.wall + timedelta(seconds=self.skew)


def settle(previous: Mapping[str, Notice], sightings: Iterable[Sighting], *, now: Instant) -> frozenset[Notice]:
    """Return the notices that stand `now`, after `previous` (by id).

    - Seen again with the same kind, code and times: the same object, whatever the wall clock says now.
    - Another time: a new `due`. Another kind or code, or another window: the same `due`.
    - A time up to `fresh_for` (five minutes, most of them) past is due at once. One longer past when first seen is
      stale and stays so until its time changes; one that was seen in time never becomes stale, whatever time it is
      given later.
    - One that was past when first seen has no window: what it announces (a reboot) may have been.
    - Seen twice in one look: the earlier time counts. Not seen: gone.
    """
    latest_first = sorted(sightings, key=lambda sighting: sighting.ends_at, reverse=True)
    seen = {sighting.id: sighting for sighting in latest_first}
    return frozenset(_notice(previous.get(id_), sighting, now) for id_, sighting in seen.items())


def _notice(before: Notice | None, sighting: Sighting, now: Instant) -> Notice:
    seen_at = now.wall if before is None else before.seen_at
    lasts = sighting.lasts.total_seconds() if seen_at <= sighting.ends_at else 0.0
    if before is not None and before.ends_at == sighting.ends_at:
        same = (before.kind, before.code, before.lasts) == (sighting.kind, sighting.code, lasts)
        return before if same else replace(before, kind=sighting.kind, code=sighting.code, lasts=lasts)
    left = sighting.ends_at - now.corrected
    return Notice(
        id=sighting.id,
        kind=sighting.kind,
        ends_at=sighting.ends_at,
        due=now.mono + max(0.0, left.total_seconds()),
        seen_at=seen_at,
        source=sighting.source,
        stale=-left > sighting.fresh_for and (before is None or before.stale),
        code=sighting.code,
        lasts=lasts,
    )
