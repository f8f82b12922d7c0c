"""The port to anything that can announce the end of this node."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final, Protocol

from agent.model.notice import Notice, NoticeKind
from agent.value import value

STALE_AFTER: Final = timedelta(minutes=5)
"""A notice further past than this when it is first seen is stale (P5), unless its source knows better."""


@value
class Sighting:
    """One notice as a source shows it now. The same `id` with another kind or time is the same notice, changed.

    `code` is what sort of scheduled event it is. `fresh_for` is how long after `ends_at` it still means something to
    whoever sees it then for the first time; `lasts` is how long after it what it announces may come.
    """

    id: str
    kind: NoticeKind
    ends_at: datetime
    source: str
    code: str = ""
    fresh_for: timedelta = STALE_AFTER
    lasts: timedelta = timedelta()


class NoticeSource(Protocol):
    """Contract: `look` ends within a few seconds and may be called again at once, also after it was cancelled."""

    @property
    def name(self) -> str:
        """The source in metrics, status and logs."""
        ...

    @property
    def interval(self) -> float:
        """Seconds now wanted between the beginnings of two looks."""
        ...

    async def look(self) -> Sequence[Sighting]:
        """Return every notice that stands now. Raises TransientError when that is unknown (P5)."""
        ...


@value
class Noticed:
    """The notices of one source, all of them: what is not in the set any more was withdrawn."""

    source: str
    notices: frozenset[Notice]
