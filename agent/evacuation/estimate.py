"""What a notice would cost now: the bytes that S3 does not have, at the rate that S3 takes them. Pure."""

from typing import Final

from agent.value import value

FIXED_COSTS: Final = 20.0
"""Seconds of an evacuation besides its bytes: the drain, the start of the copier, the last commit, the record."""

ASSUMED_RATE: Final = 80e6
"""Bytes per second while none was measured here: 70 % of the baseline of a c7gd.large (0.937 Gb/s, EC2 User Guide,
"Compute optimized instances"). Most nodes are faster: they save somewhat more ahead than they need to, once."""


@value
class Look:
    """What was found unsaved at `at` (monotonic), by a look at the tree or at the end of a copy.

    `by_age` says how many bytes of it changed at least so many seconds before `at`, the oldest first; `oldest` is how
    many seconds before `at` the oldest of it changed, None when that is not known, or nothing is unsaved. `used` is
    what was on the disk then, None where that is not known. The seconds are what the look cost.
    """

    at: float
    files: int
    bytes: int
    oldest: float | None = None
    by_age: tuple[tuple[float, int], ...] = ()
    used: int | None = None
    cpu_seconds: float = 0.0
    seconds: float = 0.0


@value
class Estimate:
    """`seconds` of an evacuation that began now, of which `bytes` at `rate`; `is_measured` is the rate's.

    `at` is when the tree was looked at, or where nobody looked yet, how full the disk is. `files` None is not known.
    """

    seconds: float
    bytes: int
    files: int | None
    at: float
    rate: float
    is_measured: bool


def estimate(*, look: Look | None, used: int | None, used_at: float, rate: float | None) -> Estimate | None:
    """Return what is known of the cost; None when neither the tree nor its disk has been looked at.

    `used` is what is on the disk, looked at at `used_at`. What the disk has gained since the last look is unsaved, and
    no more is unsaved than the disk holds.
    """
    if look is None and used is None:
        return None
    unsaved = used or 0
    if look is not None:
        gained = 0 if used is None or look.used is None else max(0, used - look.used)
        unsaved = look.bytes + gained if used is None else min(used, look.bytes + gained)
    speed = rate or ASSUMED_RATE
    return Estimate(
        seconds=FIXED_COSTS + unsaved / speed,
        bytes=unsaved,
        files=None if look is None else look.files,
        at=used_at if look is None else look.at,
        rate=speed,
        is_measured=rate is not None,
    )
