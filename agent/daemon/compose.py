"""The daemon put together: what each part is given, and how what one part tells reaches the others."""

import asyncio
import socket
from collections.abc import Mapping
from concurrent.futures import Executor
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any, Final

from agent import __version__
from agent.chance import Chance
from agent.checkpoint.keys import new_id
from agent.clock import Clock
from agent.copier.protocol import Committed, Message
from agent.daemon import blocks
from agent.daemon.allowance import Allowance
from agent.daemon.autoscaling import AutoScaling
from agent.daemon.barrier import BarrierWatch
from agent.daemon.capabilities import Capabilities, Name
from agent.daemon.cgroup import Group
from agent.daemon.checkpoints import Busy, Checkpoints
from agent.daemon.control import Control
from agent.daemon.copier import CopierProcess
from agent.daemon.epilog import Epilogs
from agent.daemon.feed import Feed
from agent.daemon.hook import Hook
from agent.daemon.jobfiles import JobFiles
from agent.daemon.jobwork import JobWork
from agent.daemon.leading import Leading, Place
from agent.daemon.memory import Memory
from agent.daemon.noticefile import NoticeFile
from agent.daemon.operations import Operations
from agent.daemon.rescued import Rescued
from agent.daemon.runner import Runner
from agent.daemon.saving import Saving
from agent.daemon.scrape import Scrape
from agent.daemon.sdnotify import Systemd
from agent.daemon.shutdown import is_work_lost
from agent.daemon.signals import Leaving
from agent.daemon.surroundings import Surroundings
from agent.daemon.view import Ahead, Around, status_document
from agent.daemon.whoami import Whoami, machine_identity
from agent.daemon.works import Works
from agent.errors import PermanentError
from agent.evacuation.phases import Phase
from agent.evacuation.plan import delta_seconds
from agent.evacuation.record import Record, saved_of
from agent.evacuation.state import Evacuation, Saved, Trouble
from agent.imds.client import Imds
from agent.journal import Journal
from agent.model.checkpoint import CheckpointId
from agent.model.drain import NodeState
from agent.model.mode import Mode
from agent.model.node import BootId
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
from agent.observe.counting import CountedProcesses
from agent.observe.metrics import Metrics
from agent.processes import Processes
from agent.settings import Settings
from agent.slurm.held import HeldJobs
from agent.slurm.host import Host

NICENESS: Final = {Group.RESCUE: 0, Group.BACKGROUND: 10}
"""Of a copier: a rescue has the right of way, a checkpoint that somebody asked for has not."""


SILENCE: Final = 60.0
"""Seconds without an answer from the source that is asked most often, after which the agent is not healthy."""


class Daemon:
    """Every part of the control process, in the state `state`."""

    def __init__(
        self,
        settings: Settings,
        *,
        state: Evacuation,
        environ: Mapping[str, str],
        boot_id: BootId,
        memory: Memory,
        imds: Imds,
        journal: Journal,
        capabilities: Capabilities,
        saving: Saving,
        systemd: Systemd,
        groups: Mapping[Group, Path],
        processes: Processes,
        executor: Executor,
        clock: Clock,
        chance: Chance,
    ) -> None:
        self.settings = settings
        self.memory = memory
        self.journal = journal
        self.feed = Feed()
        self.capabilities = capabilities
        self.saving = saving
        self._groups = groups
        self._clock = clock
        self._chance = chance
        self._imds = imds
        self._processes = processes
        self._began = asyncio.get_running_loop().time()
        self.metrics = Metrics(version=__version__, mode=settings.mode)
        counted = CountedProcesses(processes, self.metrics.slurm_command)
        around = Surroundings(
            settings,
            environ=environ,
            imds=imds,
            host=Host(processes=processes, executor=executor),
            processes=processes,
            slurm_processes=counted,
            clock=clock,
            memory=memory,
        )
        self.whoami = Whoami(
            identify=around.identity,
            find_slurm=around.slurm,
            find_cluster=around.cluster,
            find_writer=around.writer,
            capabilities=capabilities,
            boot_id=boot_id,
            host=socket.gethostname().split(".")[0],
            machine=machine_identity(remembered=memory.instance_id),
            appeared=self._slurm_appeared,
        )
        self._spot = SpotSource(imds, interval_when_spot=settings.imds.poll_interval.total_seconds())
        self._operator = OperatorSource(state.notices)
        self._block = self._make_block_source(state)
        self.reserving = blocks.Reserving(
            self._block,
            self.whoami.slurm_node,
            wanted=settings.capacity_block.slurm_reservation and settings.mode is Mode.ACT,
            clock=clock,
            chance=chance,
        )
        self._last_seen: NodeState | None = None
        self._shutdown = ShutdownSource(self._node_state, clock)
        self.asg = AsgSource(
            imds,
            clock=clock,
            hook_window=settings.asg.hook_window,
            was_in_service=memory.in_service,
            restored=state.notices,
        )
        self.watchers = [self._watch(source, state) for source in self._sources(state)]
        self.allowance = Allowance(saving.keep("ahead.json"), clock=clock, executor=executor)
        self.leading = self._make_leading()
        self.barrier = BarrierWatch(
            whoami=self.whoami,
            processes=processes,
            capabilities=capabilities,
            is_idle=lambda: self.runner.state.phase is Phase.WATCHING,
        )
        self.runner = self._make_runner(state)
        self.checkpoints = Checkpoints(
            copier=self._copier(Group.BACKGROUND),
            whoami=self.whoami,
            refusal=self._no_checkpoint_now,
            fresh=self._fresh_id,
            terms=saving.terms,
            moved=self._moved,
            committed=self._committed,
            job_files=self._job_files,
        )
        self.scrape = Scrape(
            self.metrics,
            clock=clock,
            imds=imds,
            watchers=self.watchers,
            capabilities=capabilities,
            state=lambda: self.runner.state,
            block=lambda: self._block.block,
            estimate=saving.estimate,
            ahead=lambda: (self.allowance.sent, self.leading.cpu_seconds, saving.layer_bytes),
            troubles=lambda: len(self.status()["trouble"]),
        )
        self.notice_file = NoticeFile(Path(settings.state.socket).parent, executor)
        self.hook = Hook(AutoScaling(processes, self.whoami).tell, clock)
        self.leaving = Leaving(
            phase=lambda: self.runner.state.phase,
            shut_down=self._shut_down,
            hurry=self.runner.hurry,
            systemd=systemd,
        )
        self.control = self._make_control()
        if state.saved is not None:
            self._committed(state.saved)  # by an earlier life of this evacuation

    def _sources(self, state: Evacuation) -> list[NoticeSource]:
        return [
            self._spot,
            TerminationTime(self._imds),
            TagSource(self._imds),
            RebalanceSource(self._imds),
            EventSource(self._imds, restored=state.notices),
            self.asg,
            self._block,
            self._shutdown,
            self._operator,
        ]

    def _make_block_source(self, state: Evacuation) -> CapacityBlockSource:
        settings = self.settings.capacity_block
        return CapacityBlockSource(
            self._imds,
            processes=self._processes,
            clock=self._clock,
            end=settings.end,
            ask=settings.ask,
            restored=state.notices,
            changed=self._block_told,
        )

    def _block_told(self) -> None:
        blocks.show(self._block, self.capabilities)
        self.reserving.wake()

    def _watch(self, source: NoticeSource, state: Evacuation) -> Watcher:
        by_our_clock = (self.asg, self._shutdown, self._operator)
        return Watcher(
            source,
            report=self._noticed,
            clock=self._clock,
            chance=self._chance,
            skew=no_skew if source in by_our_clock else lambda: self._imds.skew,
            known=state.notices,
        )

    def _copier(self, group: Group) -> CopierProcess:
        return CopierProcess(config=self.settings.file, niceness=NICENESS[group], group=self._groups.get(group))

    def _make_runner(self, state: Evacuation) -> Runner:
        margin = self.settings.evacuation.safety_margin.total_seconds()
        self.jobs = JobWork(
            whoami=self.whoami,
            slurm=lambda node: HeldJobs(node, instance_id=self.whoami.instance_id, chance=self._chance),
            is_barrier=lambda: self.barrier.is_up,
            safety_margin=margin,
            chance=self._chance,
        )
        works = Works(
            whoami=self.whoami,
            copier=self._copier(Group.RESCUE),
            leading=self.leading,
            moved=self._moved,
            heard=self.all_heard,
            receipts=self.saving.receipts,
            terms=self.saving.terms,
            safety_margin=margin,
            cannot_save=self.saving.refusal,
            clock=self._clock,
            chance=self._chance,
            jobs=self.jobs,
            rescued=Rescued(self._job_files),
            current=lambda: self.runner.state,
        )
        return Runner(
            state,
            performers=works.performers,
            clock=self._clock,
            chance=self._chance,
            safety_margin=margin,
            step=self._step,
        )

    def _make_leading(self) -> Leading:
        return Leading(
            self.settings,
            copier=self._copier(Group.BACKGROUND),
            whoami=self.whoami,
            saving=self.saving,
            allowance=self.allowance,
            place=self._place,
            refusal=self.saving.refusal,
            fresh=self._fresh_id,
            moved=partial(self._moved, is_limited=bool(self.settings.checkpoint.bandwidth_limit)),
            clock=self._clock,
        )

    def _place(self) -> Place:
        identity, block, state = self.whoami.identity, self._block.block, self.runner.state
        return Place(
            is_free=state.phase is Phase.WATCHING and not self.checkpoints.is_busy,
            is_spot=identity is not None and identity.is_spot,
            block_taken_at=None if block is None else block.taken_at,
            has_jobs=self._last_seen is None or may_have_job(self._last_seen),
            may_save=state.effects.save,
        )

    def _make_control(self) -> Control:
        operations = Operations(
            status=self.status, operator=self._operator, wake=self.watchers[-1].wake, clock=self._clock
        )
        epilogs = Epilogs(
            current=lambda: self.runner.state,
            limit=lambda: self.barrier.limit,
            safety_margin=self.settings.evacuation.safety_margin.total_seconds(),
        )
        return Control(
            Path(self.settings.state.socket),
            everybody={"status": operations.status},
            root={
                "evacuate": operations.evacuate,
                "cancel": operations.cancel,
                "epilog": epilogs.wait,
                "checkpoint": self.checkpoints.take,
            },
        )

    def status(self) -> dict[str, Any]:
        """Return the status document."""
        self.look_at_imds()
        whoami = self.whoami
        around = Around(
            mode=self.settings.mode,
            identity=whoami.identity,
            name=whoami.name,
            cluster=whoami.cluster,
            boot_id=whoami.boot_id,
            writer=whoami.writer,
            capabilities=self.capabilities.all,
            trouble=self._trouble(),
            saved=self.saving.last,
            progress=self.saving.progress,
            bytes_per_second=self.saving.rate.per_second,
            estimate=self.saving.estimate(),
            ahead=Ahead(
                why=self.leading.why,
                bytes_today=self.allowance.today,
                layers=tuple(self.saving.layer_paths),
                layer_bytes=self.saving.layer_bytes,
            ),
            safety_margin=self.settings.evacuation.safety_margin.total_seconds(),
            uptime=asyncio.get_running_loop().time() - self._began,
            block=self._block.block,
            lifecycle_target=self.asg.target,
            standing_by=self.asg.standing_by,
        )
        return status_document(self.runner.state, around, now=asyncio.get_running_loop().time(), wall=self._clock.now())

    def _trouble(self) -> list[Trouble]:
        now, mono = self._clock.now(), asyncio.get_running_loop().time()
        return [
            *(
                trouble
                for trouble in (self.hook.trouble, self.reserving.trouble, self.leading.trouble)
                if trouble is not None
            ),
            *(
                Trouble(
                    what=f"{watcher.name} is unknown: {watcher.health.error}",
                    hint=watcher.health.hint,
                    since=now - timedelta(seconds=mono - (watcher.health.last_success or self._began)),
                )
                for watcher in self.watchers
                if not watcher.health.is_well
            ),
        ]

    def healthy(self) -> tuple[bool, str]:
        """Return whether the agent would hear a notice, and if not, why."""
        source = self.watchers[0]
        silent = asyncio.get_running_loop().time() - (source.health.last_success or self._began)
        return silent < SILENCE, f"{source.name}: no answer for {silent:.0f} s: {source.health.error}"

    def look_at_imds(self) -> None:
        """Whether IMDS answers is what the source that asks it most often has met last."""
        health = self.watchers[0].health
        if health.is_well and health.last_success is not None:
            self.capabilities.on(Name.IMDS, self.whoami.instance_id)
        elif not health.is_well:
            self.capabilities.off(Name.IMDS, health.error, health.hint)

    def _fresh_id(self) -> CheckpointId:
        return CheckpointId(new_id(self._clock, self._chance))

    def _slurm_appeared(self) -> None:
        self.runner.started()

    def _noticed(self, noticed: Noticed) -> None:
        self.whoami.heard(self._spot.identity)
        self.runner.noticed(noticed.source, noticed.notices)
        for watcher in self.watchers:  # IMDS is back: who has not heard of it yet need not wait for a pause to end
            if watcher.health.last_success is None:
                watcher.wake()

    async def _node_state(self) -> NodeState | None:
        slurm = self.whoami.slurm
        self._last_seen = None if slurm is None else await slurm.read()
        return self._last_seen

    async def _node_state_for_sure(self) -> NodeState | None:
        slurm = await self.whoami.slurm_node()
        return None if slurm is None else await slurm.read()

    async def _shut_down(self) -> bool:
        state = self.runner.state
        if state.phase is Phase.RESTING and state.saves:
            return False  # it was saved for the notice whose end this is
        if not await is_work_lost(self._processes, self._node_state_for_sure):
            return False
        self._shutdown.stopping()
        self._watcher_of(self._shutdown).wake()
        return True

    def _watcher_of(self, source: NoticeSource) -> Watcher:
        return next(watcher for watcher in self.watchers if watcher.name == source.name)

    def all_heard(self) -> bool:
        """Return whether every source that can show a notice has answered since the start."""
        showing = [watcher for watcher in self.watchers if watcher.name != TerminationTime.name]
        return all(watcher.health.last_success is not None for watcher in showing)

    def _job_files(self) -> JobFiles | None:
        """Return what knows whose files are whose; None where Slurm is not (yet) to be told."""
        slurm = self.whoami.slurm
        if self.settings.mode is not Mode.ACT or slurm is None:
            return None
        templates = self.settings.jobs.files
        return JobFiles(slurm.name, slurm.scontrol, templates=templates, chance=self._chance)

    async def _no_checkpoint_now(self) -> PermanentError | None:
        phase = self.runner.state.phase
        if phase not in {Phase.WATCHING, Phase.RETURNING, Phase.RESTING}:
            return Busy("make", "a checkpoint", f"an evacuation is going on ({phase})", hint="see `hpc-agent status`")
        self.leading.give_way()  # a person waits
        return await self.saving.refusal()

    def _step(self, record: Record) -> None:
        self.journal.append(record)
        self.feed.publish(record)
        self.saving.step(record)
        self.leaving.look()
        if record.state.phase is not Phase.WATCHING:
            self.leading.give_way()
        if record.state.phase is Phase.COPYING:
            self.checkpoints.give_way()

    def _moved(self, message: Message, *, is_limited: bool = False) -> None:
        self.saving.moved(message, at=asyncio.get_running_loop().time(), is_limited=is_limited)
        self.scrape.moved(message)
        self._replan()
        if isinstance(message, Committed):
            self._committed(saved_of(dict(message.saved)))

    def _replan(self) -> None:
        """Have the time to stop the jobs follow what the first copy measures."""
        saving, progress = self.saving, self.saving.progress
        rate = saving.rate.per_second or saving.pace.per_second or 0.0  # until this copy has one: that of the last
        if progress is None or self.runner.state.phase is not Phase.COPYING:
            return
        delta = delta_seconds(progress, bytes_per_second=rate)
        self.runner.planned(delta_seconds=delta)

    def _committed(self, saved: Saved) -> None:
        self.saving.committed(saved, at=asyncio.get_running_loop().time())
        self.scrape.committed(saved)
