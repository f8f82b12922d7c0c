"""The only place where phases meet asyncio: events in, the pure decision, work started and cancelled.

The runner has the one broad `except` of the agent: a bug in a piece of work ends that work, never the evacuation.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass

from agent.chance import Chance
from agent.checkpoint.keys import new_id
from agent.clock import Clock
from agent.errors import AgentError
from agent.evacuation.events import (
    Committed,
    Done,
    Drained,
    Estimated,
    Event,
    Failed,
    Handled,
    Looked,
    Matured,
    Noticed,
    Planned,
    Started,
    TimeUp,
    Troubled,
    Withheld,
)
from agent.evacuation.jobs import Dealt, Held, seen
from agent.evacuation.machine import advance
from agent.evacuation.plan import due
from agent.evacuation.record import Record
from agent.evacuation.state import Evacuation, Saved
from agent.evacuation.work import Work, wanted
from agent.model.checkpoint import CheckpointId
from agent.model.drain import Drain
from agent.model.notice import Notice

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Tell:
    """How a piece of work reports while it goes on."""

    work: Work
    runner: "Runner"

    def drained(self, drain: Drain) -> None:
        self.runner.post(Drained, drain=drain)

    def committed(self, saved: Saved) -> None:
        self.runner.post(Committed, saved=saved)

    def troubled(self, error: AgentError) -> None:
        self.runner.post(Troubled, work=self.work, what=said(error), hint=error.hint)

    def waiting(self, what: str, hint: str = "") -> None:
        self.runner.post(Troubled, work=self.work, what=what, hint=hint)

    def looked(self, jobs: Iterable[Held], requeued: Iterable[str] = ()) -> None:
        self.runner.looked(tuple(jobs), tuple(requeued))

    def planned(self, *, stop_seconds: float) -> None:
        self.runner.planned(stop_seconds=stop_seconds)

    def handled(self, job: Held, dealt: Dealt, why: str = "") -> None:
        self.runner.post(Handled, ref=job.ref, dealt=dealt, why=why)

    def signalled(self, job: Held) -> None:
        self.runner.post(Handled, ref=job.ref, dealt=job.dealt, signalled=True)

    def withheld(self, what: str) -> None:
        self.runner.post(Withheld, work=self.work, what=what)


Performer = Callable[[Evacuation, Tell], Awaitable[None]]


def said(error: AgentError) -> str:
    """Return an error as a sentence without its hint."""
    return f"{error.op} {error.subject}: {error.detail}"


def _moves(known: float | None, now: float | None) -> bool:
    return now is not None and (known is None or abs(known - now) > 1)


class Runner:
    """Runs one node's evacuations from `state` on. `step` is called with each record after the work was started."""

    def __init__(
        self,
        state: Evacuation,
        *,
        performers: Mapping[Work, Performer],
        clock: Clock,
        chance: Chance,
        safety_margin: float,
        step: Callable[[Record], None],
    ) -> None:
        self.state = state
        self._performers = performers
        self._clock = clock
        self._chance = chance
        self._safety_margin = safety_margin
        self._step = step
        self._inbox: asyncio.Queue[Event] = asyncio.Queue()
        self._running: dict[Work, asyncio.Task[None]] = {}
        self._number = 0

    def post(self, event: Callable[..., Event], **parts: object) -> None:
        """Take note that something happened now."""
        self._inbox.put_nowait(self._now(event, **parts))

    def _now(self, event: Callable[..., Event], **parts: object) -> Event:
        fresh = CheckpointId(new_id(self._clock, self._chance))
        return event(at=asyncio.get_running_loop().time(), wall=self._clock.now(), fresh=fresh, **parts)

    def noticed(self, source: str, notices: frozenset[Notice]) -> None:
        """The notices of `source` are now these."""
        self.post(Noticed, source=source, notices=notices)

    def started(self) -> None:
        """The agent begins, or Slurm has appeared: what is known of the drain has to be read again."""
        self.post(Started)

    def estimated(self, seconds: float) -> None:
        """Saving everything would take so many seconds now; a change of less than a tenth is none."""
        known = self.state.estimate
        if abs(seconds - known) > max(known, seconds) / 10:
            self.post(Estimated, seconds=seconds)

    def looked(self, jobs: tuple[Held, ...], requeued: tuple[str, ...]) -> None:
        """These jobs run; a look that shows what is known already is none."""
        if self.state.jobs is None or seen(self.state.jobs, jobs, requeued) != self.state.jobs:
            self.post(Looked, jobs=jobs, requeued=requeued)

    def planned(self, *, stop_seconds: float | None = None, delta_seconds: float | None = None) -> None:
        """What stopping the jobs or the last delta take; a change that moves no limit by a second is none."""
        stop, delta = self.state.stop_seconds, self.state.delta_seconds
        if _moves(stop, stop_seconds) or _moves(delta, delta_seconds):
            self.post(Planned, stop_seconds=stop_seconds, delta_seconds=delta_seconds)

    def hurry(self) -> None:
        """The current phase has no more time."""
        self.post(TimeUp)

    async def run(self) -> None:
        """Take events until cancelled."""
        async with asyncio.TaskGroup() as crew:
            while True:
                event = await self._next()
                before, self.state = self.state, advance(self.state, event)
                self._reconcile(crew)  # before anything is written down: a drain does not wait for a disk (P1)
                if self.state != before:
                    self._tell(before, event)

    async def _next(self) -> Event:
        limit, act = due(self.state, safety_margin=self._safety_margin), self.state.next_act
        first = min((time for time in (limit, act) if time is not None), default=None)
        try:
            async with asyncio.timeout_at(first):
                return await self._inbox.get()
        except TimeoutError:
            return self._now(TimeUp if first == limit else Matured)

    def _reconcile(self, crew: asyncio.TaskGroup) -> None:
        want = wanted(self.state)
        for work in self._running.keys() - want:
            self._running.pop(work).cancel()
        for work in sorted(want - self._running.keys(), key=list(Work).index):
            self._running[work] = crew.create_task(self._perform(work, self.state), name=work)

    async def _perform(self, work: Work, state: Evacuation) -> None:
        me = asyncio.current_task()
        try:
            await self._performers[work](state, Tell(work, self))
        except AgentError as error:
            self._end(work, me, Failed, what=said(error), hint=error.hint)
        except Exception as error:  # the one broad except: a bug must not stop the rest
            logger.exception("bug in %s", work)
            self._end(work, me, Failed, what=f"bug: {error!r}", hint="please report it with the journal")
        else:
            self._end(work, me, Done)

    def _end(self, work: Work, task: asyncio.Task[None] | None, event: Callable[..., Event], **parts: object) -> None:
        if self._running.get(work) is task:
            del self._running[work]
            self.post(event, work=work, **parts)

    def _tell(self, before: Evacuation, event: Event) -> None:
        self._number += 1
        if self.state.phase is not before.phase:
            logger.info("%s -> %s (%s)", before.phase, self.state.phase, type(event).__name__)
        for work, trouble in self.state.trouble.items():
            if before.trouble.get(work) != trouble:
                logger.warning("%s: %s%s", work, trouble.what, trouble.hint and f" ({trouble.hint})")
        self._step(Record(number=self._number, event=event, state=self.state))
