"""Wall time, for people and for the wire. What is waited for uses the monotonic `loop.time()`."""

from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    def now(self) -> datetime:
        """Return the wall time, aware, UTC."""
        ...


class SystemClock:
    def now(self) -> datetime:
        return datetime.now(UTC)


def stamp(when: datetime) -> str:
    """Write a wall time as RFC 3339 in UTC to the millisecond: `2026-11-23T09:15:00.123Z`."""
    return when.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def parse_stamp(text: str) -> datetime:
    """Read an RFC 3339 time as aware UTC.

    Raises ValueError for anything else, a time without a zone included.
    """
    when = datetime.fromisoformat(text)
    if when.tzinfo is None:
        raise ValueError(f"no time zone in {text!r}")
    return when.astimezone(UTC)
