"""Which work a state calls for. The runner starts what is wanted and not running, and cancels what is not wanted."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Final

from agent.evacuation.phases import Phase
from agent.evacuation.state import Evacuation


class Work(StrEnum):
    """A piece of work; each runs at most once at a time."""

    DRAIN = "drain"
    COPY = "copy"
    COMMIT = "commit"
    RELEASE = "release"
    LIFT = "lift"
    LEAD = "lead"
    JOBS = "jobs"
    MEASURE = "measure"
    STOP = "stop"
    DELTA = "delta"


OWN: Final[Mapping[Phase, Work]] = {
    Phase.DRAINING: Work.DRAIN,
    Phase.COPYING: Work.COPY,
    Phase.STOPPING: Work.STOP,
    Phase.DELTA: Work.DELTA,
    Phase.COMMITTING: Work.COMMIT,
    Phase.RELEASING: Work.RELEASE,
    Phase.RETURNING: Work.LIFT,
}
"""The work whose end is the end of the phase."""

EVACUATING: Final = frozenset(
    {
        Phase.DRAINING,
        Phase.COPYING,
        Phase.STOPPING,
        Phase.DELTA,
        Phase.COMMITTING,
        Phase.RELEASING,
        Phase.RESTING,
    }
)


def wanted(state: Evacuation) -> frozenset[Work]:
    """Return the work that should be going on in `state`.

    A copy ahead is made while nothing else is going on. A drain that nobody has confirmed is wanted for as long as the
    node is being left: slurmctld may be back any second. A copy that is not through when the jobs are stopped goes on,
    and the last delta waits for it. Once it is through, what jobs still change is measured until they are stopped. Jobs
    are not looked at before the drain (P1).
    """
    own = frozenset({OWN[state.phase]} if state.phase in OWN else ()) - {Work.COPY, Work.DELTA}
    copying = _copying(state) if state.phase in COPYING else frozenset()
    measuring = frozenset({Work.MEASURE} if _waits(state) else ())
    looking = frozenset({Work.JOBS} if state.phase in {Phase.COPYING, Phase.STOPPING} and state.saves else ())
    unsettled = frozenset({Work.DRAIN} if state.phase in EVACUATING and state.drain is None else ())
    ahead = frozenset({Work.LEAD} if state.phase is Phase.WATCHING and state.leading else ())
    return own | copying | measuring | looking | unsettled | ahead


COPYING: Final = frozenset({Phase.COPYING, Phase.STOPPING, Phase.DELTA})


def _waits(state: Evacuation) -> bool:
    """Whether a copy that is through waits for the time to stop the jobs, which go on changing files."""
    return state.phase is Phase.COPYING and state.copied and state.saves and state.effects.save and state.stops


def _copying(state: Evacuation) -> frozenset[Work]:
    if not state.copied:
        return frozenset({Work.COPY})
    return frozenset({Work.DELTA} if state.phase is Phase.DELTA else ())
