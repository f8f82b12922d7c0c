"""Brings the metrics up to date: what only counts is counted as it happens, the rest is read when somebody looks."""

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from agent.clock import Clock
from agent.copier.protocol import Message, Moved
from agent.daemon.capabilities import Capabilities
from agent.daemon.feed import Subscription
from agent.evacuation.estimate import Estimate
from agent.evacuation.phases import Phase
from agent.evacuation.record import Record
from agent.evacuation.state import Evacuation, Saved
from agent.imds.client import Imds
from agent.model.drain import Drain
from agent.notices.block import Block
from agent.notices.watcher import Watcher
from agent.observe.metrics import Metrics


class Scrape:
    """Feeds `metrics` from the daemon's parts."""

    def __init__(
        self,
        metrics: Metrics,
        *,
        clock: Clock,
        imds: Imds,
        watchers: Sequence[Watcher],
        capabilities: Capabilities,
        state: Callable[[], Evacuation],
        block: Callable[[], Block | None],
        estimate: Callable[[], Estimate | None],
        ahead: Callable[[], tuple[int, float, int | None]],
        troubles: Callable[[], int],
    ) -> None:
        self._metrics = metrics
        self._clock = clock
        self._imds = imds
        self._watchers = watchers
        self._capabilities = capabilities
        self._state = state
        self._block = block
        self._estimate = estimate
        self._ahead = ahead
        self._troubles = troubles
        self._phase = Phase.WATCHING
        self._was_ours = False

    def refresh(self) -> None:
        """Bring every series up to now."""
        state = self._state()
        self._metrics.phase(state.phase)
        self._metrics.notices(state.notices)
        self._metrics.deadline(None if state.ruling is None else state.ruling.ends_at)
        block = self._block()
        self._metrics.block_end(None if block is None else block.taken_at)
        self._metrics.drain(state.drain)
        self._metrics.imds(self._imds.requests, self._wall(self._imds.last_success))
        self._metrics.clock_skew(None if self._imds.skew is None else -self._imds.skew)
        for watcher in self._watchers:
            health = watcher.health
            self._metrics.source(watcher.name, self._wall(health.last_success), health.failures)
        for name, known in self._capabilities.all.items():
            if known.on is not None:
                self._metrics.capability(name, on=known.on)
        expected = self._estimate()
        age = 0.0 if expected is None else asyncio.get_running_loop().time() - expected.at
        self._metrics.estimate(expected, age=age)
        self._metrics.ahead(*self._ahead())
        self._metrics.trouble(self._troubles())

    async def follow(self, records: Subscription) -> None:
        """Count what happens, for ever."""
        async for record in records:
            self._step(record)

    def _step(self, record: Record) -> None:
        state, self._phase, before = record.state, record.state.phase, self._phase
        self._metrics.notices(state.notices)
        if state.phase is Phase.RESTING and before is Phase.RELEASING:
            self._metrics.outcome(state.outcome)
        if state.drain is Drain.OURS and state.began is not None and not self._was_ours:
            self._metrics.drained_within(record.event.at - state.began)
        self._was_ours = state.drain is Drain.OURS

    def moved(self, message: Message) -> None:
        """Take what a copier tells."""
        if isinstance(message, Moved):
            self._metrics.progress(message.progress)
            self._metrics.s3_requests(message.requests)

    def committed(self, saved: Saved) -> None:
        self._metrics.committed(saved.created_at, complete=saved.complete)

    def _wall(self, at: float | None) -> datetime | None:
        if at is None:
            return None
        return self._clock.now() - timedelta(seconds=asyncio.get_running_loop().time() - at)
