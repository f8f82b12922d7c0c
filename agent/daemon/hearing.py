"""Where notices are heard: every source with its watcher, and what their silence says about the node."""

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Final

from agent.chance import Chance
from agent.clock import Clock
from agent.daemon import blocks
from agent.daemon.capabilities import Capabilities, Name
from agent.daemon.whoami import Whoami
from agent.evacuation.state import Trouble
from agent.imds.client import Imds
from agent.model.drain import NodeState
from agent.model.mode import Mode
from agent.model.notice import Notice
from agent.notices.asg import AsgSource
from agent.notices.capacity_block import CapacityBlockSource
from agent.notices.events import EventSource
from agent.notices.operator import OperatorSource
from agent.notices.rebalance import RebalanceSource
from agent.notices.shutdown import ShutdownSource, may_have_job
from agent.notices.source import Noticed, NoticeSource
from agent.notices.spot import SpotSource, TerminationTime
from agent.notices.tag import TagSource
from agent.notices.watcher import Watcher, no_skew
from agent.processes import Processes
from agent.settings import Settings

SILENCE: Final = 60.0
"""Seconds without an answer from the source that is asked most often, after which the agent is not healthy."""


class Hearing:
    """Hears notices and hands those of a source to `noticed`. `known` are notices of an earlier life.

    `was_in_service`: the Auto Scaling group has said so in this boot.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        imds: Imds,
        processes: Processes,
        whoami: Whoami,
        capabilities: Capabilities,
        known: frozenset[Notice],
        was_in_service: bool,
        noticed: Callable[[str, frozenset[Notice]], None],
        clock: Clock,
        chance: Chance,
    ) -> None:
        self._imds = imds
        self._whoami = whoami
        self._capabilities = capabilities
        self._known = known
        self._noticed = noticed
        self._clock = clock
        self._chance = chance
        self._began = asyncio.get_running_loop().time()
        self._last_seen: NodeState | None = None
        self._spot = SpotSource(imds, interval_when_spot=settings.imds.poll_interval.total_seconds())
        self._shutdown = ShutdownSource(self._node_state, clock)
        self.operator = OperatorSource(known)
        self.asg = AsgSource(
            imds, clock=clock, hook_window=settings.asg.hook_window, was_in_service=was_in_service, restored=known
        )
        self.block = CapacityBlockSource(
            imds,
            processes=processes,
            clock=clock,
            end=settings.capacity_block.end,
            ask=settings.capacity_block.ask,
            restored=known,
            changed=self._block_told,
        )
        self.reserving = blocks.Reserving(
            self.block,
            whoami.slurm_node,
            wanted=settings.capacity_block.slurm_reservation and settings.mode is Mode.ACT,
            clock=clock,
            chance=chance,
        )
        self.watchers = [self._watch(source) for source in self._sources()]

    def _sources(self) -> list[NoticeSource]:
        """Return all sources, the one that is asked most often first."""
        return [
            self._spot,
            TerminationTime(self._imds),
            TagSource(self._imds),
            RebalanceSource(self._imds),
            EventSource(self._imds, restored=self._known),
            self.asg,
            self.block,
            self._shutdown,
            self.operator,
        ]

    def _watch(self, source: NoticeSource) -> Watcher:
        by_our_clock = (self.asg, self._shutdown, self.operator)
        return Watcher(
            source,
            report=self._report,
            clock=self._clock,
            chance=self._chance,
            skew=no_skew if source in by_our_clock else lambda: self._imds.skew,
            known=self._known,
        )

    def _block_told(self) -> None:
        blocks.show(self.block, self._capabilities)
        self.reserving.wake()

    def _report(self, noticed: Noticed) -> None:
        self._whoami.heard(self._spot.identity)
        self._noticed(noticed.source, noticed.notices)
        for watcher in self.watchers:  # IMDS is back: who has not heard of it yet need not wait for a pause to end
            if watcher.health.last_success is None:
                watcher.wake()

    @property
    def is_complete(self) -> bool:
        """Whether every source that can show a notice has answered since the start."""
        showing = [watcher for watcher in self.watchers if watcher.name != TerminationTime.name]
        return all(watcher.health.last_success is not None for watcher in showing)

    @property
    def may_have_jobs(self) -> bool:
        """Whether a job may have been on the node when Slurm was last asked."""
        return self._last_seen is None or may_have_job(self._last_seen)

    @property
    def healthy(self) -> tuple[bool, str]:
        """Whether the agent would hear a notice, and if not, why."""
        source = self.watchers[0]
        silent = asyncio.get_running_loop().time() - (source.health.last_success or self._began)
        return silent < SILENCE, f"{source.name}: no answer for {silent:.0f} s: {source.health.error}"

    @property
    def troubles(self) -> list[Trouble]:
        """Sources that do not answer, and a reservation that can't be kept."""
        now, mono = self._clock.now(), asyncio.get_running_loop().time()
        silent = [
            Trouble(
                what=f"{watcher.name} is unknown: {watcher.health.error}",
                hint=watcher.health.hint,
                since=now - timedelta(seconds=mono - (watcher.health.last_success or self._began)),
            )
            for watcher in self.watchers
            if not watcher.health.is_well
        ]
        return silent if self.reserving.trouble is None else [self.reserving.trouble, *silent]

    def look_at_imds(self) -> None:
        """Whether IMDS answers is what the source that asks it most often has met last."""
        health = self.watchers[0].health
        if health.is_well and health.last_success is not None:
            self._capabilities.on(Name.IMDS, self._whoami.instance_id)
        elif not health.is_well:
            self._capabilities.off(Name.IMDS, health.error, health.hint)

    def operator_spoke(self) -> None:
        """Hear the operator's notice, or its end, now."""
        self._wake(self.operator)

    def machine_stops(self) -> None:
        """Take the end of the machine, which systemd announced, for a notice."""
        self._shutdown.stopping()
        self._wake(self._shutdown)

    def _wake(self, source: NoticeSource) -> None:
        next(watcher for watcher in self.watchers if watcher.name == source.name).wake()

    async def _node_state(self) -> NodeState | None:
        slurm = self._whoami.slurm
        self._last_seen = None if slurm is None else await slurm.read()
        return self._last_seen
