"""Keeps the Auto Scaling lifecycle hook of our instance alive while the node is saved, and completes it at rest.

Without the right to do so the evacuation keeps to the time of the notice, which is all there is then; a line of trouble
says so. The notice's end stays where it is even when heartbeats are taken: they only keep Auto Scaling from being
earlier than a save that takes longer than planned.
"""

import asyncio
from collections.abc import AsyncIterable, Awaitable, Callable
from typing import Final

from agent.clock import Clock
from agent.daemon.autoscaling import Answer, Verb
from agent.errors import AgentError, PermanentError
from agent.evacuation.phases import Phase
from agent.evacuation.record import Record
from agent.evacuation.state import Evacuation, Trouble
from agent.model.notice import NoticeKind

HOOKED: Final = frozenset({NoticeKind.ASG_TERMINATE, NoticeKind.WARM_POOL_RETURN})
"""The notices whose instance waits at a hook."""

DRAIN_FIRST: Final = 2.0
"""Seconds before the first child: it costs half a second of a core, and the drain goes first (P1)."""
UNKNOWN_INTERVAL: Final = 60.0
"""Seconds between heartbeats while nobody has told how often the hook wants one; it allows no less than 30 s."""
SHORTEST_INTERVAL: Final = 10.0
TRIES: Final = 6
"""How often a hook is told that we are done: 2 + 4 + 8 + 16 + 32 s. The state "wait" comes after the notice."""
FIRST_PAUSE: Final = 2.0


def wanted(state: Evacuation) -> Verb | None:
    """Return what the hook has to be told in `state`. In observe mode it is left to whoever else keeps it."""
    if not state.effects.save or not any(notice.kind in HOOKED for notice in state.standing):
        return None
    return Verb.COMPLETE if state.phase is Phase.RESTING else Verb.HEARTBEAT


class Hook:
    """Tells the hook what each state calls for. `trouble` is why it can't, None when all is well or nothing stands."""

    def __init__(self, tell: Callable[[Verb], Awaitable[Answer]], clock: Clock) -> None:
        self._tell = tell
        self._clock = clock
        self.trouble: Trouble | None = None

    async def follow(self, records: AsyncIterable[Record]) -> None:
        """Do what each record calls for, until cancelled."""
        doing: Verb | None = None
        task: asyncio.Task[None] | None = None
        async with asyncio.TaskGroup() as crew:
            async for record in records:
                verb = wanted(record.state)
                if verb is doing:
                    continue
                if task is not None:
                    task.cancel()
                doing, task = verb, None
                if verb is None:
                    self.trouble = None
                else:
                    work = self._complete if verb is Verb.COMPLETE else self._keep
                    task = crew.create_task(work(), name=f"hook {verb}")

    async def _keep(self) -> None:
        await asyncio.sleep(DRAIN_FIRST)
        missed = 0
        while True:
            interval = None
            try:
                answer = await self._tell(Verb.HEARTBEAT)
            except PermanentError as error:
                self._troubled(error)
                return
            except AgentError as error:
                self._troubled(error)
            else:
                self.trouble = None
                interval = _interval(answer)
            missed = 0 if interval else missed + 1
            await asyncio.sleep(interval or min(SHORTEST_INTERVAL * 2 ** (missed - 1), UNKNOWN_INTERVAL))

    async def _complete(self) -> None:
        pause = FIRST_PAUSE
        for _ in range(TRIES):
            try:
                answer = await self._tell(Verb.COMPLETE)
            except PermanentError as error:
                self._troubled(error)
                return
            except AgentError as error:
                self._troubled(error)
            else:
                self.trouble = None
                if answer.taken:
                    return
            await asyncio.sleep(pause)
            pause *= 2

    def _troubled(self, error: AgentError) -> None:
        what = f"{error.op} {error.subject}: {error.detail}"
        since = self._clock.now() if self.trouble is None else self.trouble.since
        self.trouble = Trouble(what=what, hint=error.hint, since=since)


def _interval(answer: Answer) -> float | None:
    """Three heartbeats in the time of one: two may be lost. None while the instance does not wait at the hook yet."""
    if not answer.taken:
        return None
    return max(SHORTEST_INTERVAL, answer.heartbeat_seconds / 3) if answer.heartbeat_seconds else UNKNOWN_INTERVAL
