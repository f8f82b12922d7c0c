"""Times as people type them."""

from datetime import UTC, datetime, timedelta

from agent.clock import parse_stamp
from agent.errors import SettingsInvalid


def after(text: str, now: datetime) -> datetime:
    """Read "2026-11-23T09:15:00Z", a date (its beginning, UTC), or a span from `now` on ("10m").

    Raises SettingsInvalid.
    """
    span = _span(text)
    return _moment(text) if span is None else now + span


def before(text: str, now: datetime) -> datetime:
    """Read a time as `after` does, but a span back from `now`."""
    span = _span(text)
    return _moment(text) if span is None else now - span


def _span(text: str) -> timedelta | None:
    from agent.settings.units import parse_duration

    try:
        return parse_duration(text)
    except ValueError:
        return None


def _moment(text: str) -> datetime:
    try:
        return parse_stamp(text) if "T" in text or " " in text else datetime.fromisoformat(text).replace(tzinfo=UTC)
    except ValueError as error:
        expected = 'expected a time with its zone, as "2026-11-23T09:15:00Z", or a span, as "10m"'
        raise SettingsInvalid("read", f"time {text!r}", expected) from error
