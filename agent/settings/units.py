"""Durations and sizes are written with their unit: "90s", "64MiB". A bare number is refused, it could mean anything."""

import re
from collections.abc import Callable
from datetime import timedelta
from typing import Annotated

from agent.settings.checks import After, Reader

_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)")
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*((?:[KMGTPE]i?)?)B")
_MOST = 1 << 63


class Size(int):
    """Bytes; a type of its own, so that it is written with its unit."""


def parse_duration(text: object) -> timedelta:
    """Read "1500ms", "90s", "2m", "12h", "14d".

    Raises ValueError for anything else.
    """
    if isinstance(text, timedelta):
        return text
    found = _DURATION.fullmatch(text) if isinstance(text, str) else None
    if found is None:
        raise ValueError('a duration with its unit (ms, s, m, h, d), as "90s"')
    return timedelta(seconds=float(found[1]) * _SECONDS[found[2]])


def parse_size(text: object) -> Size:
    """Read "512B", "8MiB", "500GB".

    Raises ValueError for anything else.
    """
    if isinstance(text, Size):
        return text
    found = _SIZE.fullmatch(text) if isinstance(text, str) else None
    if found is None:
        raise ValueError('a size with its unit (B, KiB, MiB, GiB, KB, ...), as "64MiB"')
    bytes_ = float(found[1]) * _multiple(found[2])
    if bytes_ >= _MOST:
        raise ValueError('a size that a machine can hold, as "64MiB"')
    return Size(bytes_)


def _multiple(unit: str) -> int:
    return int((1024 if unit.endswith("i") else 1000) ** " KMGTPE".index(unit[:1] or " "))


def duration(least: str, most: str) -> Callable[[object], timedelta]:
    """Return a reader of durations from `least` to `most`."""
    low, high = parse_duration(least), parse_duration(most)

    def read(text: object) -> timedelta:
        value = parse_duration(text)
        if not low <= value <= high:
            raise ValueError(f"a duration from {least} to {most}")
        return value

    return read


def size(least: str, most: str) -> Callable[[object], Size]:
    """Return a reader of sizes from `least` to `most`."""
    low, high = parse_size(least), parse_size(most)

    def read(text: object) -> Size:
        value = parse_size(text)
        if not low <= value <= high:
            raise ValueError(f"a size from {least} to {most}")
        return value

    return read


PollInterval = Annotated[timedelta, Reader(duration("100ms", "60s"))]
Margin = Annotated[timedelta, Reader(duration("0s", "10m"))]
HookWindow = Annotated[timedelta, Reader(duration("30s", "2h"))]
"""What Auto Scaling takes as the HeartbeatTimeout of a lifecycle hook."""
Retention = Annotated[timedelta, Reader(duration("1d", "3650d"))]
DrainTimeout = Annotated[timedelta, Reader(duration("1s", "2m"))]
PackBelow = Annotated[Size, Reader(size("0B", "5MiB"))]
"""What is larger is a request of its own, which costs no more than its share of a pack."""
PackSize = Annotated[Size, Reader(size("5MiB", "64MiB"))]
Budget = Annotated[timedelta, Reader(duration("0s", "1h"))]
Grace = Annotated[timedelta, Reader(duration("0s", "10m"))]
PeerTime = Annotated[timedelta, Reader(duration("10s", "30m"))]
Quiet = Annotated[timedelta, Reader(duration("0s", "1d"))]
Bytes = Annotated[Size, Reader(parse_size)]
PartSize = Annotated[Size, Reader(size("5MiB", "512MiB"))]
"""S3 takes no part under 5 MiB but the last."""


def optional(read: Callable[[object], object]) -> Callable[[str], str]:
    """Return a check of texts that `read` can read, or that are empty: off."""

    def check(text: str) -> str:
        if text:
            read(text)
        return text

    return check


Every = Annotated[str, After(optional(duration("1m", "30d")))]
"""A duration, or empty."""
Bandwidth = Annotated[str, After(optional(size("100KB", "100GB")))]
"""Bytes a second, or empty."""


def write_duration(value: timedelta) -> str:
    """Write a duration the way it is read, in its largest unit that divides it: "90s", "2m", "1500ms"."""
    milliseconds = round(value.total_seconds() * 1000)
    for unit, length in (("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000)):
        if milliseconds % length == 0 and milliseconds >= length:
            return f"{milliseconds // length}{unit}"
    return f"{milliseconds}ms" if milliseconds else "0s"


def write_size(value: int) -> str:
    """Write a size the way it is read, exactly: "8MiB", "1000B"."""
    for unit, length in (("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if value % length == 0 and value >= length:
            return f"{value // length}{unit}"
    return f"{value}B"
