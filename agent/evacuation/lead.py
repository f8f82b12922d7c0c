"""What is saved ahead of a notice, and when: what the notice would leave no time for, and gently. Pure.

All times are monotonic seconds, all sizes bytes.
"""

from enum import StrEnum
from typing import Final

from agent.evacuation.estimate import ASSUMED_RATE, FIXED_COSTS, Look
from agent.value import value

LAST_HOURS: Final = 4 * 3600.0
"""Before a Capacity Block is taken: before that, what would be saved ahead is mostly overwritten again."""

LOW_MARK: Final = 1 / 8
"""The share of what fits the budget that a pass leaves unsaved. With none, each further file would be a pass again."""

CORE_SHARE: Final = 0.01
DISK_SHARE: Final = 0.05
"""What looks at the tree may take of one core, and of the time of a disk that is slow to answer."""

LOOK_EVERY: Final = 60.0
"""The shortest time between two looks."""

SETTLED: Final = 60.0
"""Once no job is left, how long ago the last change must be."""

REFRESH_EVERY: Final = 86_400.0
"""The last head is written anew so often: no rule of the bucket that keeps two days takes it from under the files."""


class Scope(StrEnum):
    """`auto`: nodes whose end comes with little notice, and only what would not fit. `always`: all that rests."""

    AUTO = "auto"
    ALWAYS = "always"
    NEVER = "never"


@value
class Rules:
    """What the operator wants. `every` is the interval of whole checkpoints, None for none."""

    scope: Scope = Scope.AUTO
    budget: float = 60.0
    quiet: float = 600.0
    bytes_per_day: int = 500 << 30
    every: float | None = None


@value
class Known:
    """All that the decision depends on.

    `used` is what is on the disk, None where that is not known. `rate` is the measured one. `jobs_at` is when a job
    was, or may have been, last seen here. `head_at` is when the last head was committed, None without one to build on;
    `whole_at` when the last whole checkpoint was made, or when the agent began.
    """

    is_spot: bool = False
    block_taken_in: float | None = None
    used: int | None = None
    rate: float | None = None
    look: Look | None = None
    sent_today: int = 0
    has_jobs: bool = True
    jobs_at: float = 0.0
    head_at: float | None = None
    whole_at: float = 0.0


@value
class Rest:
    """Nothing, until something changes; `why` is for people."""

    why: str


@value
class Scan:
    """Look at the tree."""


@value
class Pass:
    """Send files that have not changed for `quiet` seconds, oldest change first, until `most_bytes` (None: all)."""

    why: str
    most_bytes: int | None
    quiet: float


Decision = Rest | Scan | Pass


def decide(rules: Rules, known: Known, now: float) -> Decision:
    """Return what to do now."""
    if rules.every is not None and now >= known.whole_at + rules.every and known.jobs_at > known.whole_at:
        return Pass(why="checkpoint.every has passed", most_bytes=None, quiet=0.0)
    if (why_not := _out_of_scope(rules, known)) is not None:
        return Rest(why=why_not)
    if rules.scope is Scope.AUTO and known.used is not None and known.used <= fits(rules, known):
        return Rest(why="all of the scratch fits the budget")
    if known.head_at is not None and now >= known.head_at + REFRESH_EVERY:
        return Pass(why="the last head is a day old", most_bytes=0, quiet=rules.quiet)
    if known.look is None:
        return Scan()
    return _after_look(rules, known, known.look, now)


def fits(rules: Rules, known: Known) -> float:
    """Return how many bytes a notice could find unsaved within the budget."""
    return max(0.0, rules.budget - FIXED_COSTS) * (known.rate or ASSUMED_RATE)


def _out_of_scope(rules: Rules, known: Known) -> str | None:
    if rules.scope is Scope.NEVER:
        return 'checkpoint.lead is "never"'
    if rules.scope is Scope.ALWAYS or known.is_spot:
        return None
    if known.block_taken_in is None:
        return "not a Spot node, nor one of a Capacity Block"
    return None if known.block_taken_in <= LAST_HOURS else "the end of the Capacity Block is far"


def _after_look(rules: Rules, known: Known, look: Look, now: float) -> Decision:
    quiet = rules.quiet if known.has_jobs else min(rules.quiet, SETTLED)
    wanted, left_today = _wanted(rules, known, look), rules.bytes_per_day - known.sent_today
    is_at_rest = look.oldest is not None and look.oldest + now - look.at >= quiet
    if wanted and is_at_rest and left_today > 0:
        most = min(wanted, left_today)
        age = max(quiet, _age_of(look, most))
        return Pass(why="more is unsaved than fits the budget", most_bytes=most, quiet=age)
    if _is_worth_a_look(known, look, now):
        return Scan()
    if not wanted:
        return Rest(why="what is unsaved fits the budget")
    return Rest(why="it changed a short while ago" if left_today > 0 else "checkpoint.lead_bytes_per_day is used up")


def _age_of(look: Look, most: int) -> float:
    """Return how long ago all of the oldest `most` bytes have changed: the oldest change goes first."""
    for age, size in look.by_age:
        most -= size
        if most <= 0:
            return age
    return 0.0


def _wanted(rules: Rules, known: Known, look: Look) -> int:
    """Return how many bytes are to go ahead: none while all fits the budget."""
    if rules.scope is Scope.ALWAYS:
        return look.bytes
    room = fits(rules, known)
    return round(look.bytes - room * LOW_MARK) if look.bytes > room else 0


def _is_worth_a_look(known: Known, look: Look, now: float) -> bool:
    pause = max(LOOK_EVERY, look.cpu_seconds / CORE_SHARE, look.seconds / DISK_SHARE)
    if known.has_jobs:
        return now >= look.at + pause
    # Nobody is here who could change anything: one look at what the last job left, and then none (P9).
    settled = known.jobs_at + SETTLED
    return look.at < settled <= now and now >= look.at + pause
