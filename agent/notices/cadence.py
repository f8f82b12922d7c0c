"""When to look next. Pure.

Two looks never begin more than two intervals apart (unless one takes longer than that), however often looking failed:
once the source is well again, that is seen within two polls. A steady source is looked at on its own beat, not
`interval` after the last answer, so that slow answers do not make the polls rarer.
"""

import math
from typing import Final

NOTEWORTHY_INTERVAL: Final = 5.0
"""Seconds. Longer intervals are jittered, so that the agents of a fleet do not look in step."""
JITTER: Final = 0.05


def next_look(begun: float, *, now: float, interval: float, failures: int, fraction: float) -> float:
    """Return when to look after a look that was due at `begun` and has ended `now`.

    `failures` counts the looks that failed since the last good one; `fraction` is a random number from 0 to 1. One
    failure changes nothing (a lost packet); from the second on the interval is stretched by 1 to 2.
    """
    wait = interval
    if failures > 1:
        wait *= 1 + fraction
    elif interval > NOTEWORTHY_INTERVAL:
        wait *= 1 + JITTER * (2 * fraction - 1)
    at = begun + wait
    if at < now:
        at += math.ceil((now - at) / interval) * interval
    return max(now, min(at, begun + 2 * interval))
