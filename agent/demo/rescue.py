"""A rescue as its agent's status documents tell it, one after the other. Pure."""

from typing import Any

Status = dict[str, Any]


class Rescue:
    """`last_byte` and `committed` are the times (monotonic) at which these were seen first, None as long as not."""

    def __init__(self) -> None:
        self.status: Status = {"state": "", "progress": None, "checkpoint": None, "outcome": None, "trouble": []}
        self.last_byte: float | None = None
        self.committed: float | None = None

    def see(self, status: Status, now: float) -> None:
        """Take the next document."""
        self.status = status
        if self.last_byte is None and _is_copied(status):
            self.last_byte = now
        if self.committed is None and _is_committed(status):
            self.committed = now

    @property
    def is_over(self) -> bool:
        return bool(self.status["state"] == "resting")

    @property
    def is_complete(self) -> bool:
        checkpoint = self.status["checkpoint"]
        return bool(checkpoint and checkpoint["complete"])

    @property
    def outcome(self) -> str:
        """What it came to; the agent itself says so only at its end."""
        so_far = "COMPLETE" if self.is_complete else "PARTIAL" if self.status["checkpoint"] else "NOTHING"
        return self.status["outcome"] or f"{so_far}, and the time is over"

    @property
    def sent(self) -> int:
        """Bytes that went to S3."""
        progress = self.status["progress"]
        return int(progress["bytes_sent"]) if progress else 0

    @property
    def trouble(self) -> str:
        return "; ".join(one["what"] for one in self.status["trouble"]) or "no trouble was told"


def _is_copied(status: Status) -> bool:
    """Tell whether everything that the walk has found is in S3."""
    progress = status["progress"]
    return bool(progress and progress["walked"] and progress["bytes_done"] == progress["bytes_total"])


def _is_committed(status: Status) -> bool:
    """Tell whether the last head is written."""
    checkpoint = status["checkpoint"]
    return bool(checkpoint and (checkpoint["complete"] or status["state"] in {"releasing", "resting"}))
