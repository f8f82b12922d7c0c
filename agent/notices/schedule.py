"""When EC2 is asked about a Capacity Block again. Pure: seconds in, seconds out.

The request limit belongs to the whole account and the cluster manager needs it: never more often than once a minute a
node, rarely while the end is far. A thousand agents together stay under 5 requests a second while it is, the 256 nodes
that a block can have at most under 10 when it is near (tests/unit/notices/test_schedule.py). Every pause is stretched
by chance, so that nodes which were started together do not stay in step.
"""

from typing import Final

MINUTE: Final = 60.0
HOUR: Final = 3600.0

FAR: Final = 24 * HOUR
NEAR: Final = 2 * HOUR
"""Seconds before the end. The last pause that began before NEAR is over well before the last 90 minutes, in which an
extension can still be paid and every minute counts."""

PAUSE_FAR: Final = HOUR
PAUSE_BETWEEN: Final = 10 * MINUTE
PAUSE_NEAR: Final = MINUTE
PAUSE_THROTTLED: Final = 5 * MINUTE
PAUSE_DENIED: Final = 30 * MINUTE
STRETCH: Final = 0.1

SPREAD_OF_BLOCK: Final = 2 * MINUTE
"""Seconds over which the nodes of a block, 256 at most, ask for the first time, with two requests each."""
SPREAD: Final = 15 * MINUTE
"""The same for a fleet of any size that has to ask whether it is in a block at all."""


def first_pause(*, in_block: bool, chance: float) -> float:
    """Return how many seconds after its start a node asks for the first time; `chance` is from 0 to 1."""
    return chance * (SPREAD_OF_BLOCK if in_block else SPREAD)


def pause(*, left: float | None, failures: int = 0, sort: str = "", chance: float) -> float:
    """Return the seconds until EC2 is asked again, at least a minute.

    `left` is how many seconds there are until the node is taken, as far as known; `failures` how many questions in a
    row went unanswered; `sort` is of the last of them: "throttled", "denied" or "unavailable".
    """
    wait = _after_silence(left, failures, sort) if failures else _after_answer(left)
    return wait * (1 + STRETCH * chance)


def _after_answer(left: float | None) -> float:
    if left is None or left > FAR:
        return PAUSE_FAR
    return PAUSE_BETWEEN if left > NEAR else PAUSE_NEAR


def _after_silence(left: float | None, failures: int, sort: str) -> float:
    if sort == "throttled":
        return PAUSE_THROTTLED
    if sort == "denied":
        return PAUSE_DENIED
    doubled = 2.0 ** min(failures - 1, 10)
    if left is None:
        return min(PAUSE_FAR, PAUSE_THROTTLED * doubled)
    return min(PAUSE_THROTTLED, PAUSE_NEAR * doubled) if left <= NEAR else PAUSE_THROTTLED
