"""Auto Scaling: the instance leaves its group, for good or for the warm pool, and IMDS says only where it is going."""

import logging
from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import Final

from agent.clock import Clock
from agent.imds import documents
from agent.imds.metadata import Metadata
from agent.model.notice import Notice, NoticeKind
from agent.notices.source import Sighting

logger = logging.getLogger(__name__)

INTERVAL: Final = 10.0
"""Seconds: a hook waits for at least 30."""

IN_SERVICE: Final = "InService"
WARMED: Final = "Warmed:"
TERMINATED: Final = frozenset({"Terminated", "Warmed:Terminated"})
TERMINATING: Final = ("Terminating:", "Warmed:Terminating:")
"""How states on the way there begin: IMDS is said to show targets only."""
DISK_LOST: Final = frozenset({"Warmed:Stopped", "Warmed:Hibernated"})
"""A stop erases the instance store and so does hibernation; a warm pool of running instances keeps it."""


def threat(target: str, *, was_in_service: bool) -> NoticeKind | None:
    """Return what kind of notice a target lifecycle state is, None when the instance may stay or has nothing to lose.

    An instance that waits in the warm pool for its first work has nothing to save, wherever it goes from there.
    """
    if target.startswith(WARMED) and not was_in_service:
        return None
    if target in TERMINATED or target.startswith(TERMINATING):
        return NoticeKind.ASG_TERMINATE
    return NoticeKind.WARM_POOL_RETURN if target in DISK_LOST else None


class AsgSource:
    """Shows where Auto Scaling takes the instance. The hook's end is not in IMDS: the notice ends `hook_window` after
    it was first seen, by our clock, and that stays where it is over polls and restarts.

    `was_in_service` is whether this boot of the instance has been; keep it over restarts. `restored` are the notices of
    the journal.
    """

    name = "asg"
    interval = INTERVAL

    def __init__(
        self,
        imds: Metadata,
        *,
        clock: Clock,
        hook_window: timedelta,
        was_in_service: bool = False,
        restored: Iterable[Notice] = (),
    ) -> None:
        self._imds = imds
        self._clock = clock
        self._hook_window = hook_window
        self._was_in_service = was_in_service
        self._target: str | None = None
        self._standing = next((_sighting_again(notice) for notice in restored if notice.source == self.name), None)
        self._count = 0 if self._standing is None else int(self._standing.id.rpartition("#")[2])

    @property
    def was_in_service(self) -> bool:
        return self._was_in_service

    @property
    def target(self) -> str:
        """The target lifecycle state as last read; empty outside an Auto Scaling group, or before the first answer."""
        return self._target or ""

    @property
    def standing_by(self) -> bool:
        """Whether the instance is, or is going, into a warm pool with nothing to lose."""
        return self._standing is None and self.target.startswith(WARMED)

    async def look(self) -> Sequence[Sighting]:
        target = await self._imds.read(documents.TARGET_STATE, documents.target_state) or ""
        if target != self._target:
            self._target = target
            self._moved(target)
        return () if self._standing is None else (self._standing,)

    def _moved(self, target: str) -> None:
        self._was_in_service = self._was_in_service or target == IN_SERVICE
        kind = threat(target, was_in_service=self._was_in_service)
        if kind is None:
            self._standing = None
            if target:
                logger.info("Auto Scaling takes this instance to %s: nothing to do", target)
        elif self._standing is None or self._standing.id.rpartition("#")[0] != f"{self.name}:{target}":
            self._standing = self._first_sight(target, kind)

    def _first_sight(self, target: str, kind: NoticeKind) -> Sighting:
        self._count += 1
        ends_at = self._clock.now() + self._hook_window
        return Sighting(
            id=f"{self.name}:{target}#{self._count}",
            kind=kind,
            ends_at=ends_at.replace(microsecond=ends_at.microsecond // 1000 * 1000),  # as the journal keeps it
            source=self.name,
        )


def _sighting_again(notice: Notice) -> Sighting:
    return Sighting(id=notice.id, kind=notice.kind, ends_at=notice.ends_at, source=notice.source)
