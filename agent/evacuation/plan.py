"""How the time that is left is shared out. Pure: monotonic times in, monotonic times out."""

from collections.abc import Mapping
from typing import Final

from agent.evacuation.phases import Phase
from agent.evacuation.state import Evacuation
from agent.model.notice import NoticeKind
from agent.model.progress import Progress
from agent.value import value

HEADSTART: Final = 1.0
"""Seconds that the copy waits for the drain at most: a slurmctld that does not answer must not eat the window."""

BLIND_WINDOW: Final = 300.0
"""Seconds to go on for when the notice says "now" (hibernation, a time that is past): nobody knows the end."""

SHORT_WINDOW: Final = 20.0
"""A notice with less than this many seconds says "now": EC2's times are approximate."""

OUTLIVED: Final = 600.0
"""Seconds past its deadline, or the window of its event, after which a machine that still runs goes back to work."""

STOP_COST: Final = 2.0
"""Seconds for stopping jobs where they are: two looks at Slurm and one child per job, 20 ms each, on a busy node."""

EPILOG_COST: Final = 2.0
"""Seconds from a requeue to TERM, and from the end of the processes to the Epilog (both under 1 s, measured)."""

BLIND_DELTA: Final = 1 / 8
"""The share of the time for copying that is kept for the last delta while no rate is known."""

DELTA_SHARE: Final = 1 / 4
"""How much of the copy is taken to have changed by the time the jobs are stopped, while nobody has looked."""

LEAST_DELTA: Final = 3.0
"""Seconds of a last delta at least: a walk, and the start of its uploads."""

STOPPING_SHARE: Final = 3 / 4
"""Stopping jobs and the last delta may have no more of the time for copying than this: jobs are not stopped at the very
first second because a slow store lets everything look hopeless."""

TAKEN_WITHIN: Final[Mapping[NoticeKind, float]] = {
    # EC2 begins to terminate 30 or 60 minutes before the block's end date and goes on until then
    # (EC2 User Guide, "How Capacity Blocks work"): a node that went back to work would take jobs and die with them.
    NoticeKind.CAPACITY_BLOCK_END: 70 * 60.0,
}
"""Seconds past its deadline within which a notice of this kind is still carried out; OUTLIVED for the others."""


@value
class Plan:
    """Who must be done by when (monotonic seconds).

    Jobs that asked for a signal are told from `tell_at` on; all are stopped from `stop_at` on, as late as the last
    delta lets them be, and must be by `stop_until`.
    """

    tell_at: float
    stop_at: float
    stop_until: float
    copy_until: float
    commit_until: float
    release_until: float
    rest_until: float


def plan(state: Evacuation, *, safety_margin: float) -> Plan | None:
    """Return the plan of the evacuation that is going on, None when there is none.

    `safety_margin` (seconds) is what is kept for the last commit and the record: at most a quarter of the window.
    """
    ruling, began = state.ruling, state.began
    if ruling is None or began is None:
        return None
    window = ruling.due - began
    end = ruling.due if window >= SHORT_WINDOW else began + BLIND_WINDOW
    margin = min(safety_margin, (end - began) / 4)
    copy_until = end - margin
    stop, delta = _stopping(state, copy_until - began)
    stop_until = copy_until - delta
    grace = max((job.grace for job in state.to_stop if job.signal), default=0.0)
    stop_at = stop_until - stop
    if (stopping := state.entered.get(Phase.STOPPING)) is not None:
        # What has begun gets its time: files that were not at rest before the last delta are given to nobody.
        stop_until = max(stop_until, min(stopping + grace + stop, copy_until - LEAST_DELTA))
    if state.hurries:
        stop_at = min(stop_at, state.entered.get(Phase.STOPPING, stop_at))
    return Plan(
        tell_at=max(began, stop_until - stop - grace),
        stop_at=stop_at,
        stop_until=stop_until,
        copy_until=copy_until,
        commit_until=end - margin / 3,
        release_until=end,
        rest_until=max(end + TAKEN_WITHIN.get(ruling.kind, OUTLIVED), ruling.due + ruling.lasts + OUTLIVED),
    )


def _stopping(state: Evacuation, window: float) -> tuple[float, float]:
    """Return the seconds for stopping the jobs and for the last delta: together at most STOPPING_SHARE of `window`.

    The delta gives way: it may be a guess, and what stopping takes is not.
    """
    delta = window * BLIND_DELTA if state.delta_seconds is None else state.delta_seconds
    stop, most = STOP_COST if state.stop_seconds is None else state.stop_seconds, window * STOPPING_SHARE
    stop = min(stop, max(most - LEAST_DELTA, most / 2))
    return stop, min(delta, most - stop)


def due(state: Evacuation, *, safety_margin: float) -> float | None:
    """Return when the time of the current phase is up (monotonic), None when it has no limit."""
    times = plan(state, safety_margin=safety_margin)
    if times is None:
        return None
    limits = {
        Phase.DRAINING: min(state.entered.get(Phase.DRAINING, 0.0) + HEADSTART, times.copy_until),
        Phase.COPYING: times.tell_at if state.stops else times.copy_until,
        Phase.STOPPING: times.stop_until,
        Phase.DELTA: times.copy_until,
        Phase.COMMITTING: times.commit_until,
        Phase.RELEASING: times.release_until,
        Phase.RESTING: times.rest_until,
    }
    return limits.get(state.phase)


@value
class Forecast:
    """What the copy will come to at the measured rate. `seconds_needed` is None while nothing is known to go by."""

    bytes_left: int
    bytes_per_second: float
    seconds_needed: float | None
    fits: bool | None


def forecast(progress: Progress, *, bytes_per_second: float, seconds: float) -> Forecast:
    """Return whether what is known to be unsaved goes out within `seconds` at the rate measured so far."""
    left = max(0, progress.bytes_total - progress.bytes_done)
    if left == 0 and progress.walked:
        return Forecast(bytes_left=0, bytes_per_second=bytes_per_second, seconds_needed=0.0, fits=True)
    if bytes_per_second <= 0:
        return Forecast(bytes_left=left, bytes_per_second=0.0, seconds_needed=None, fits=None)
    needed = left / bytes_per_second
    return Forecast(bytes_left=left, bytes_per_second=bytes_per_second, seconds_needed=needed, fits=needed <= seconds)


def delta_bytes(unsaved: int, *, changing: float | None, seconds: float, tree: int | None) -> float:
    """Return how much will have changed `seconds` after a copy of `unsaved` bytes began.

    `changing` (bytes per second) was measured before; None is not known: then a share of what is copied. No more
    changes than there is: `tree` bytes, None where that is not known.
    """
    if changing is None:
        return DELTA_SHARE * unsaved
    return min(changing * seconds, max(unsaved, tree or 0))


def delta_seconds(size: float, *, bytes_per_second: float, is_known: bool) -> float | None:
    """Return what a last delta of `size` bytes takes at the measured rate, None while nothing is known to go by.

    `is_known`: the size is no guess of a walk that still goes on.
    """
    if bytes_per_second <= 0:
        return LEAST_DELTA if is_known and size == 0 else None
    return LEAST_DELTA + size / bytes_per_second


def stop_seconds(*, is_barrier: bool, kill_wait: float) -> float:
    """Return what stopping jobs takes: their end (KillWait when they ignore TERM) before an Epilog, else a freeze."""
    return kill_wait + EPILOG_COST if is_barrier else STOP_COST
