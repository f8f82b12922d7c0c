"""When EC2 is asked about a Capacity Block again. Pure: seconds in, seconds out.

The request limit belongs to the whole account and the cluster manager needs it: never more often than once a minute a
node, rarely while the end is far. A thousand agents together stay under 5 requests a second while it is, the 256 nodes
that a block can have make at most 10 in any second (tests/unit/notices/test_schedule.py). Chance alone would bring 16
of them together now and then: each node has a slot of its own instead, the same share of every period, and what puts
all in step (a start, an outage of EC2) is over with the next question.
"""

import hashlib
from typing import Final

MINUTE: Final = 60.0
HOUR: Final = 3600.0

FAR: Final = 24 * HOUR
NEAR: Final = 2 * HOUR
"""Seconds before the end. The last pause that began before NEAR is over well before the last 90 minutes, in which an
extension can still be paid and every minute counts."""

PAUSE_FAR: Final = HOUR
PAUSE_BETWEEN: Final = 10 * MINUTE
PAUSE_NEAR: Final = 2 * MINUTE
PAUSE_THROTTLED: Final = 5 * MINUTE
PAUSE_DENIED: Final = 30 * MINUTE

SPREAD_OF_BLOCK: Final = 5 * MINUTE
"""Seconds over which the nodes of a block, 256 at most, ask for the first time, with two requests a second apart."""
SPREAD: Final = 15 * MINUTE
"""The same for a fleet of any size that has to ask whether it is in a block at all."""


def share_of(instance_id: str) -> float:
    """Return the node's share, from 0 to 1: the same at every look."""
    return int.from_bytes(hashlib.sha256(instance_id.encode()).digest()[:8], "big") / 2**64


def first_pause(*, in_block: bool, share: float) -> float:
    """Return how many seconds after its start a node asks for the first time."""
    return share * (SPREAD_OF_BLOCK if in_block else SPREAD)


def pause(*, left: float | None, failures: int = 0, sort: str = "", now: float, share: float) -> float:
    """Return the seconds until EC2 is asked again, at least a minute.

    `left` is how many seconds there are until the node is taken, as far as known; `failures` how many questions in a
    row went unanswered; `sort` is of the last of them: "throttled", "denied" or "unavailable". `now` is the wall clock
    in seconds, which the nodes have in common.
    """
    if failures:
        return _after_silence(left, failures, sort)
    period = _after_answer(left)
    least = period / 2  # so that an answer that came late costs no period
    return least + (share * period - now - least) % period


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
