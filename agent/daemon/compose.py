"""The daemon put together: what each part is given, and how what one part tells reaches the others."""

import asyncio
import socket
from collections.abc import Mapping
from concurrent.futures import Executor
from functools import partial
from pathlib import Path
from typing import Any, Final

from agent import __version__
from agent.chance import Chance
from agent.clock import Clock
from agent.copier.protocol import Committed, Message
from agent.daemon.autoscaling import AutoScaling
from agent.daemon.barrier import BarrierWatch
from agent.daemon.capabilities import Capabilities
from agent.daemon.cgroup import Group
from agent.daemon.control import Control
from agent.daemon.copier import CopierProcess
from agent.daemon.copies import Copies
from agent.daemon.epilog import Epilogs
from agent.daemon.feed import Feed
from agent.daemon.hearing import Hearing
from agent.daemon.hook import Hook
from agent.daemon.jobfiles import JobFiles
from agent.daemon.jobwork import JobWork
from agent.daemon.memory import Memory
from agent.daemon.noticefile import NoticeFile
from agent.daemon.operations import Operations
from agent.daemon.replanning import Replanning
from agent.daemon.rescued import Rescued
from agent.daemon.runner import Runner
from agent.daemon.saving import Saving, setup_of
from agent.daemon.scrape import Scrape
from agent.daemon.sdnotify import Systemd
from agent.daemon.shutdown import is_work_lost
from agent.daemon.signals import Leaving
from agent.daemon.spare import Spare
from agent.daemon.surroundings import Surroundings
from agent.daemon.view import Around, status_document
from agent.daemon.whoami import Whoami, machine_identity
from agent.daemon.works import Works
from agent.evacuation.phases import Phase
from agent.evacuation.record import Record, saved_of
from agent.evacuation.state import Evacuation, Saved, Trouble
from agent.imds.client import Imds
from agent.jobs.lives import FOLDER, Lives
from agent.journal import Journal
from agent.model.drain import NodeState
from agent.model.job import Wishes
from agent.model.mode import Mode
from agent.model.node import BootId
from agent.model.notice import Notice
from agent.observe.counting import CountedProcesses
from agent.observe.metrics import Metrics
from agent.processes import Processes
from agent.settings import Settings
from agent.slurm.held import HeldJobs
from agent.slurm.hold import Hold
from agent.slurm.host import Host

NICENESS: Final = {Group.RESCUE: 0, Group.BACKGROUND: 10}
"""Of a copier: a rescue has the right of way, a checkpoint that somebody asked for has not."""


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
        self._setup = setup_of(settings)
        self._groups = groups
        self._spare = Spare()
        self._clock = clock
        self._chance = chance
        self._processes = processes
        self._margin = settings.evacuation.safety_margin.total_seconds()
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
        self.hearing = Hearing(
            settings,
            imds=imds,
            processes=processes,
            whoami=self.whoami,
            capabilities=capabilities,
            known=state.notices,
            was_in_service=memory.in_service,
            noticed=self._noticed,
            clock=clock,
            chance=chance,
        )
        self.copies = Copies(
            settings,
            copier=lambda: self._copier(Group.BACKGROUND),
            whoami=self.whoami,
            hearing=self.hearing,
            saving=saving,
            current=lambda: self.runner.state,
            job_files=self._job_files,
            moved=self._moved,
            moved_ahead=partial(self._moved, is_limited=bool(settings.checkpoint.bandwidth_limit)),
            moved_for_peer=self._moved_for_peer,
            committed=self._committed,
            executor=executor,
            clock=clock,
            chance=chance,
        )
        self.barrier = BarrierWatch(
            whoami=self.whoami,
            processes=processes,
            capabilities=capabilities,
            is_idle=lambda: self.runner.state.phase is Phase.WATCHING,
        )
        self.replanning = Replanning(
            saving,
            current=lambda: self.runner.state,
            planned=lambda seconds: self.runner.planned(delta_seconds=seconds),
            safety_margin=self._margin,
        )
        self.runner = self._make_runner(state)
        self.scrape = Scrape(
            self.metrics,
            clock=clock,
            imds=imds,
            watchers=self.hearing.watchers,
            capabilities=capabilities,
            state=lambda: self.runner.state,
            block=lambda: self.hearing.block.block,
            estimate=saving.estimate,
            ahead=lambda: self.copies.counted,
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
        self.epilogs = Epilogs(
            current=lambda: self.runner.state,
            limit=lambda: self.barrier.limit,
            safety_margin=self._margin,
            save_part=self.copies.peers.save,
        )
        self.control = self._make_control()
        if state.saved is not None:
            self._committed(state.saved)  # by an earlier life of this evacuation

    def _copier(self, group: Group) -> CopierProcess:
        return CopierProcess(self._setup, niceness=NICENESS[group], group=self._groups.get(group), spare=self._spare)

    def _make_runner(self, state: Evacuation) -> Runner:
        slurm = self.settings.slurm
        jobs = JobWork(
            whoami=self.whoami,
            slurm=lambda node: HeldJobs(node, instance_id=self.whoami.instance_id, chance=self._chance),
            is_barrier=lambda: self.barrier.is_up,
            safety_margin=self._margin,
            default=Wishes(signal=slurm.signal, grace=slurm.signal_grace.total_seconds()),
            chance=self._chance,
        )
        self.works = Works(
            whoami=self.whoami,
            copier=self._copier(Group.RESCUE),
            leading=self.copies.leading,
            moved=self._moved,
            heard=lambda: self.hearing.is_complete,
            receipts=self.saving.receipts,
            terms=self.saving.terms,
            safety_margin=self._margin,
            cannot_save=self.saving.refusal,
            clock=self._clock,
            chance=self._chance,
            jobs=jobs,
            rescued=Rescued(self._job_files, gone=jobs.gone),
            current=lambda: self.runner.state,
            measured=self.replanning.looked,
            hold=Hold if slurm.hold_idle else None,
            may_lose=lambda: self.saving.may_lose,
        )
        return Runner(
            state,
            performers=self.works.performers,
            clock=self._clock,
            chance=self._chance,
            safety_margin=self._margin,
            step=self._step,
        )

    def _make_control(self) -> Control:
        operations = Operations(
            status=lambda is_root: self.status(is_root=is_root),
            operator=self.hearing.operator,
            wake=self.hearing.operator_spoke,
            count=self.metrics.restored,
            clock=self._clock,
        )
        return Control(
            Path(self.settings.state.socket),
            everybody={"status": operations.status},
            root={
                "evacuate": operations.evacuate,
                "cancel": operations.cancel,
                "restored": operations.restored,
                "epilog": self.epilogs.wait,
                "checkpoint": self.copies.checkpoints.take,
            },
        )

    def status(self, *, is_root: bool = True) -> dict[str, Any]:
        """Return the status document, as root sees it or as anybody does."""
        self.hearing.look_at_imds()
        whoami, hearing, now = self.whoami, self.hearing, asyncio.get_running_loop().time()
        around = Around(
            mode=self.settings.mode,
            identity=whoami.identity,
            name=whoami.name,
            cluster=whoami.cluster,
            boot_id=whoami.boot_id,
            writer=whoami.writer,
            capabilities=self.capabilities.all,
            is_root=is_root,
            trouble=self._troubles(),
            trouble_ahead=self.copies.leading.trouble,
            saved=self.saving.last,
            progress=self.saving.progress,
            bytes_per_second=self.saving.rate.per_second,
            estimate=self.saving.estimate(),
            ahead=self.copies.ahead,
            safety_margin=self._margin,
            uptime=now - self._began,
            block=hearing.block.block,
            lifecycle_target=hearing.asg.target,
            standing_by=hearing.asg.standing_by,
        )
        return status_document(self.runner.state, around, now=now, wall=self._clock.now())

    def _troubles(self) -> list[Trouble]:
        ours = [] if self.hook.trouble is None else [self.hook.trouble]
        return [*ours, *self.hearing.troubles]

    def _slurm_appeared(self) -> None:
        self.runner.started()

    def _noticed(self, source: str, notices: frozenset[Notice]) -> None:
        self.runner.noticed(source, notices)

    async def _node_state_for_sure(self) -> NodeState | None:
        slurm = await self.whoami.slurm_node()
        return None if slurm is None else await slurm.read()

    async def _shut_down(self) -> bool:
        state = self.runner.state
        if state.phase is Phase.RESTING and state.saves:
            return False  # it was saved for the notice whose end this is
        if not await is_work_lost(self._processes, self._node_state_for_sure):
            return False
        self.hearing.machine_stops()
        return True

    def _job_files(self) -> JobFiles | None:
        """Return what knows whose files are whose; None where Slurm is not (yet) to be told."""
        slurm = self.whoami.slurm
        if self.settings.mode is not Mode.ACT or slurm is None:
            return None
        templates = self.settings.jobs.files
        lives = Lives(Path(self.settings.state.socket).parent / FOLDER)
        return JobFiles(slurm.name, slurm.scontrol, templates=templates, lives=lives, chance=self._chance)

    def _step(self, record: Record) -> None:
        self.journal.append(record)
        self.feed.publish(record)
        self.saving.step(record)
        self.leaving.look()
        self.copies.step(record)
        self.works.follow(record.state)
        if record.state.phase is Phase.COPYING:
            self.epilogs.give_way()

    def _moved_for_peer(self, message: Message) -> None:
        self.scrape.moved(message)

    def _moved(self, message: Message, *, is_limited: bool = False) -> None:
        self.saving.moved(message, at=asyncio.get_running_loop().time(), is_limited=is_limited)
        self.scrape.moved(message)
        self.replanning.moved()
        if isinstance(message, Committed):
            self._committed(saved_of(dict(message.saved)))

    def _committed(self, saved: Saved) -> None:
        self.saving.committed(saved, at=asyncio.get_running_loop().time())
        self.scrape.committed(saved)
