"""The state of an evacuation: all that the next decision depends on."""

from collections.abc import Mapping
from dataclasses import field
from datetime import datetime
from enum import StrEnum
from typing import Final

from agent.evacuation.jobs import Held
from agent.evacuation.phases import Phase
from agent.evacuation.policy import DEFAULTS, Action, Policy, acts_at, rule
from agent.model.checkpoint import CheckpointId, Left, Totals
from agent.model.drain import Drain
from agent.model.mode import Mode
from agent.model.notice import Notice, NoticeKind
from agent.value import value


@value
class Effects:
    """What may be done to the world. The runner obeys; nothing else asks for the mode."""

    drain: bool
    save: bool
    requeue: bool

    @classmethod
    def of(cls, mode: Mode, *, requeue: bool = True) -> "Effects":
        """Return what `mode` allows; `requeue` is whether the operator wants jobs to be stopped and requeued."""
        act = mode is Mode.ACT
        return cls(drain=act, save=mode is not Mode.OBSERVE, requeue=act and requeue)


LEAVING: Final = frozenset({Action.DRAIN, Action.EVACUATE})


class Outcome(StrEnum):
    """What an evacuation came to."""

    COMPLETE = "COMPLETE"
    PARTIAL = "PARTIAL"
    NOTHING = "NOTHING"


@value
class Saved:
    """The last head that S3 acknowledged."""

    checkpoint: CheckpointId
    n: int
    key: str
    digest: str
    complete: bool
    created_at: datetime
    totals: Totals
    left: Left


@value
class Trouble:
    """Something that does not go as it should, for a person: what, since when (wall), and what can be done."""

    what: str
    hint: str
    since: datetime


@value
class Evacuation:
    """Where this node stands.

    `notices` are all that the sources show, stale ones included; `spent` are those whose deadline the machine outlived.
    `at` is the monotonic time of the last event: a notice whose time to be acted on comes later does not stand yet.
    `led` are the ids of the notices for which a copy was made ahead. `estimate` is how many
    seconds an evacuation would take, 0 while nothing is known. `drain` is None until an attempt has settled it.
    `entered` are the monotonic times at which phases of this evacuation began. `trouble` and `withheld` (what the mode
    did not allow) have at most one line per piece of work. `jobs` (by `Held.ref`) is None until Slurm has told them.
    `copied` says that the first copy is through. `stop_seconds` and `delta_seconds` are what stopping the jobs and the
    copy after that are expected to take, None until something is known to go by.
    """

    effects: Effects
    policy: Policy = field(default_factory=lambda: DEFAULTS)
    phase: Phase = Phase.WATCHING
    at: float = 0.0
    notices: frozenset[Notice] = frozenset()
    spent: frozenset[Notice] = frozenset()
    led: frozenset[str] = frozenset()
    estimate: float = 0.0
    drain: Drain | None = None
    checkpoint: CheckpointId | None = None
    began_at: datetime | None = None
    entered: Mapping[Phase, float] = field(default_factory=dict)
    saved: Saved | None = None
    trouble: Mapping[str, Trouble] = field(default_factory=dict)
    withheld: Mapping[str, str] = field(default_factory=dict)
    jobs: Mapping[str, Held] | None = None
    copied: bool = False
    stop_seconds: float | None = None
    delta_seconds: float | None = None

    @property
    def live(self) -> frozenset[Notice]:
        """The notices that are neither stale nor spent."""
        return frozenset(notice for notice in self.notices - self.spent if not notice.stale)

    @property
    def standing(self) -> frozenset[Notice]:
        """The notices to leave for, now."""
        return frozenset(
            notice
            for notice in self.live
            if rule(self.policy, notice).action in LEAVING
            and acts_at(self.policy, notice, estimate=self.estimate) <= self.at
        )

    @property
    def leading(self) -> frozenset[Notice]:
        """The notices to make a copy ahead for that has not been made yet."""
        return frozenset(
            notice
            for notice in self.live
            if rule(self.policy, notice).action is Action.LEAD_COPY
            and acts_at(self.policy, notice, estimate=self.estimate) <= self.at
            and notice.id not in self.led
        )

    @property
    def saves(self) -> bool:
        """Whether what is coming takes the disk."""
        return any(rule(self.policy, notice).action is Action.EVACUATE for notice in self.standing)

    @property
    def to_stop(self) -> tuple[Held, ...]:
        """The jobs that are known to run and that have to be stopped before the node goes."""
        return tuple(job for job in (self.jobs or {}).values() if job.is_to_be_stopped)

    @property
    def stops(self) -> bool:
        """Whether jobs have to be stopped, as far as is known: not knowing is not none (P5)."""
        return self.effects.requeue and self.saves and (self.jobs is None or bool(self.to_stop))

    @property
    def hurries(self) -> bool:
        """Whether nobody knows how long the machine has: jobs are stopped as soon as the first copy is through."""
        return self.ruling is not None and self.ruling.kind is NoticeKind.SHUTDOWN

    @property
    def next_act(self) -> float | None:
        """When the next notice that waits has to be acted on, monotonic."""
        times = (
            acts_at(self.policy, notice, estimate=self.estimate)
            for notice in self.live
            if rule(self.policy, notice).action is not Action.IGNORE
        )
        return min((time for time in times if time > self.at), default=None)

    @property
    def ruling(self) -> Notice | None:
        """The standing notice whose time comes first."""
        return min(self.standing, key=lambda notice: (notice.due, notice.id), default=None)

    @property
    def began(self) -> float | None:
        """When this evacuation began, monotonic."""
        return self.entered.get(Phase.DRAINING)

    @property
    def outcome(self) -> Outcome:
        """What the evacuation has come to so far."""
        if self.saved is None:
            return Outcome.NOTHING
        return Outcome.COMPLETE if self.saved.complete else Outcome.PARTIAL
