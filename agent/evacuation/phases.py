"""What the agent does, on one screen.

                                jobs run: as late as can be
    notice ──> DRAINING ──> COPYING ──> STOPPING ──> DELTA ──> COMMITTING ──> RELEASING ──> RESTING
                  │           └─────────── no jobs ──────────────┘ │              │            │
                  └────────────────────────────────────────────────┴──────────────┴────────────┤ last notice withdrawn,
    WATCHING <── RETURNING <───────────────────────────────────────────────────────────────────┘ or deadline outlived

Two rules make this table short. First, **the deadline comes anyway**: a working phase goes *forward* when its work
is done, when it failed and when its time is up. There is no failed state to be stuck in; failure lowers the outcome
(COMPLETE, PARTIAL, NOTHING) and is written down as trouble. Second, **the last phase is a state, not an exit**: an
agent that ended would be started again, would see the same notice and would begin again.

Every start goes through RETURNING when no notice stands: it lifts a drain that this node's dead predecessor, or we
before a crash, left behind. What is not in the table: a drain that has not succeeded yet goes on beside the later
phases (`work.py`), and the deadline that rules is derived from the set of notices that stand (`state.py`).

Everything that moves the agent from one phase to another is in ARROWS; the picture in `docs/evacuation.md` is drawn
from it (`python -m agent.evacuation.diagram`).
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Final


class Phase(StrEnum):
    """Where an evacuation is. The numbers in `NUMBERS` are a metric: they never change once given."""

    WATCHING = "watching"
    """Nothing stands against this node."""
    DRAINING = "draining"
    """Slurm is asked to start nothing more here."""
    COPYING = "copying"
    """Scratch goes to S3 while the jobs run; what has arrived is committed every few seconds."""
    STOPPING = "stopping"
    """The jobs that Slurm takes back are told and stopped; a copy that is not through goes on."""
    DELTA = "delta"
    """What they changed since it was copied goes to S3."""
    COMMITTING = "committing"
    """No more data: the last head is written."""
    RELEASING = "releasing"
    """The record of what was saved and what was left is written."""
    RESTING = "resting"
    """Everything is done; the machine may go."""
    RETURNING = "returning"
    """Our drain, if there is one, is lifted."""


NUMBERS: Final[Mapping[Phase, int]] = {
    Phase.WATCHING: 0,
    Phase.DRAINING: 1,
    Phase.COPYING: 2,
    Phase.COMMITTING: 3,
    Phase.RELEASING: 4,
    Phase.RESTING: 5,
    Phase.RETURNING: 6,
    Phase.STOPPING: 7,
    Phase.DELTA: 8,
}


class Cause(StrEnum):
    """Why a phase ends."""

    NOTICE = "notice"
    """A notice stands that this agent has not dealt with."""
    WORSE = "worse"
    """What stood so far spared the disk (a reboot); now a notice stands that takes it."""
    CLEAR = "clear"
    """The last notice was withdrawn."""
    DONE = "done"
    """The work of the phase is done."""
    FAILED = "failed"
    """The work of the phase can't be done."""
    STOP = "jobs to stop"
    """Jobs run that have to be stopped now for the rest to be done in time."""
    TIME_UP = "time up"
    """What comes after needs the rest of the time."""
    RESTARTED = "restarted"
    """The agent was started again in this phase."""


P, C = Phase, Cause
ARROWS: Final[Mapping[Phase, Mapping[Cause, Phase]]] = {
    P.WATCHING: {C.NOTICE: P.DRAINING, C.RESTARTED: P.RETURNING},
    P.DRAINING: {C.DONE: P.COPYING, C.FAILED: P.COPYING, C.TIME_UP: P.COPYING, C.CLEAR: P.RETURNING},
    P.COPYING: {
        C.DONE: P.COMMITTING,
        C.FAILED: P.COMMITTING,
        C.TIME_UP: P.COMMITTING,
        C.STOP: P.STOPPING,
        C.WORSE: P.DRAINING,
        C.CLEAR: P.RETURNING,
    },
    P.STOPPING: {C.DONE: P.DELTA, C.FAILED: P.DELTA, C.TIME_UP: P.DELTA, C.CLEAR: P.RETURNING},
    P.DELTA: {C.DONE: P.COMMITTING, C.FAILED: P.COMMITTING, C.TIME_UP: P.COMMITTING, C.CLEAR: P.RETURNING},
    P.COMMITTING: {
        C.DONE: P.RELEASING,
        C.FAILED: P.RELEASING,
        C.TIME_UP: P.RELEASING,
        C.WORSE: P.DRAINING,
        C.CLEAR: P.RETURNING,
        C.RESTARTED: P.COPYING,  # what the copier had in its memory is gone: it walks again, and sends nothing twice
    },
    P.RELEASING: {
        C.DONE: P.RESTING,
        C.FAILED: P.RESTING,
        C.TIME_UP: P.RESTING,
        C.WORSE: P.DRAINING,
        C.CLEAR: P.RETURNING,
    },
    P.RESTING: {C.NOTICE: P.DRAINING, C.WORSE: P.DRAINING, C.TIME_UP: P.RETURNING, C.CLEAR: P.RETURNING},
    P.RETURNING: {C.DONE: P.WATCHING, C.FAILED: P.WATCHING, C.NOTICE: P.DRAINING},
}
