"""The times of one evacuation, and the table that a person reads them from. Pure."""

from collections.abc import Sequence
from typing import Final

from agent.value import value

WIDTH: Final = 30


@value
class Times:
    """Monotonic seconds of what happened, seen from outside the agent; None is what never did.

    `ends` is when EC2 takes the node.
    """

    noticed: float
    drained: float
    last_byte: float | None
    committed: float | None
    ends: float
    copied_bytes: int


def table(times: Times) -> Sequence[str]:
    """Return the lines of the timeline, the bars to the scale of the window."""
    moments = [
        ("the notice appears in IMDS", times.noticed),
        ("Slurm shows the node in DRAIN", times.drained),
        ("the last byte is in S3", times.last_byte),
        ("the checkpoint is committed", times.committed),
        ("EC2 takes the node", times.ends),
    ]
    window = times.ends - times.noticed
    return [_line(name, at - times.noticed, window) for name, at in moments if at is not None]


def _line(name: str, seconds: float, window: float) -> str:
    filled = round(WIDTH * min(1.0, max(0.0, seconds / window))) if window > 0 else 0
    return f"{seconds:7.2f} s  {name:30} |{'#' * filled:{WIDTH}}|"


def summary(times: Times) -> str:
    """Return the one sentence on speed and on what was left of the window. The copier's start and the walk count."""
    window = times.ends - times.noticed
    if times.last_byte is None or times.committed is None:
        return f"{size(times.copied_bytes)} went out before the {window:.0f} s were over: not all"
    took = max(0.1, times.last_byte - times.drained)
    rate = times.copied_bytes / took / 1e6
    left = f"{times.ends - times.committed:.1f} s of the {window:.0f} s were left"
    return f"{size(times.copied_bytes)} in {took:.1f} s ({rate:.0f} MB/s); {left}"


def size(count: float) -> str:
    """Return bytes for people, in decimal units as networks are sold: "312 B", "10.0 kB", "300.4 MB"."""
    if count < 1000:
        return f"{count:.0f} B"
    for unit in ("kB", "MB", "GB"):
        count /= 1000
        if count < 1000:
            return f"{count:.1f} {unit}"
    return f"{count / 1000:.1f} TB"
