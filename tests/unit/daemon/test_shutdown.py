"""What a SIGTERM is about, asked of scripted answers of systemd and Slurm."""

import asyncio

import pytest

from agent.chance import SeededChance
from agent.daemon.rescued import Rescued
from agent.daemon.runner import Runner
from agent.daemon.sdnotify import Systemd
from agent.daemon.shutdown import ASK_SLURM, is_job_here, is_machine_stopping, is_work_lost
from agent.daemon.signals import Leaving
from agent.daemon.works import Works
from agent.evacuation.phases import Phase
from agent.evacuation.state import Effects, Evacuation, Outcome
from agent.model.drain import Drain, NodeState
from agent.model.mode import Mode
from agent.model.notice import NoticeKind
from agent.notices.shutdown import STOP_TIME, ShutdownSource
from agent.notices.watcher import Watcher
from agent.processes import ChildMissing, ChildTimedOut
from agent.slurm.errors import SlurmRefused, SlurmUnavailable
from tests.fakes.ahead import leading
from tests.fakes.imds_time import LoopClock, play
from tests.fakes.jobs import FakeJobs, job_work
from tests.fakes.node import FakeCopier, FakeSlurmNode, FakeWhoami
from tests.fakes.slurm import Scripted, said


def node(base="ALLOCATED", *flags):
    async def read():
        return NodeState(name="n1", base=base, flags=frozenset(flags))

    return read


async def no_slurm():
    return None


@pytest.mark.parametrize(
    ("answer", "stopping"),
    [
        (said("stopping\n", code=1), True),
        (said("running\n"), False),
        (said("degraded\n", code=1), False),
        (said("starting\n", code=1), False),
        (said("maintenance\n", code=1), False),
        (said("offline\n", "System has not been booted with systemd", code=1), False),
        (said("", "Failed to connect to bus", code=1), False),
        (ChildMissing("run", "systemctl", "no such file"), False),
        (ChildTimedOut("run", "systemctl", "no answer within 1 s"), False),
    ],
)
async def test_p5_only_systemds_own_word_makes_it_a_shutdown(answer, stopping):
    assert await is_machine_stopping(Scripted([answer])) is stopping


@pytest.mark.parametrize(
    ("read", "here"),
    [
        (node("ALLOCATED"), True),
        (node("MIXED", "DRAIN"), True),
        (node("IDLE", "COMPLETING"), True),
        (node("UNKNOWN"), True),
        (node("IDLE"), False),
        (node("IDLE", "DRAIN"), False),
        (node("DOWN"), False),
        (no_slurm, False),
    ],
)
async def test_a_node_that_is_allocated_or_completing_has_a_job(read, here):
    assert await is_job_here(read) is here


@pytest.mark.parametrize("error", [SlurmUnavailable, SlurmRefused])
async def test_unknown_counts_as_a_job(error):
    async def broken():
        raise error("read", "n1", "no")

    assert await is_job_here(broken)


def test_a_controller_that_hangs_is_waited_for_three_seconds_and_counts_as_a_job():
    async def story():
        began = asyncio.get_running_loop().time()
        assert await is_job_here(asyncio.Event().wait)
        return asyncio.get_running_loop().time() - began

    assert play(story) == ASK_SLURM


async def test_slurm_is_not_asked_about_a_service_that_is_restarted():
    async def read():
        raise AssertionError

    assert not await is_work_lost(Scripted([said("running\n")]), read)
    assert await is_work_lost(Scripted([said("stopping\n", code=1)]), node())


class Node:
    """A daemon's runner, works, leaving and the source of shutdowns over fakes; `power_off` is what systemd does."""

    def __init__(self, *, state=("ALLOCATED",), systemd="stopping\n"):
        self.slurm, self.copier, self.clock = FakeSlurmNode(), FakeCopier(seconds=20), LoopClock()
        self.read = node(*state)
        self.systemd = Scripted([said(systemd, code=1)])
        self.source = ShutdownSource(self.read, self.clock)
        whoami = FakeWhoami(self.slurm)
        works = Works(
            hold=None,
            may_lose=lambda: False,
            whoami=whoami,
            copier=self.copier,
            leading=leading(),
            moved=lambda message: None,
            heard=lambda: True,
            receipts=lambda checkpoint: "",
            terms=dict,
            safety_margin=15.0,
            cannot_save=self.can_save,
            clock=self.clock,
            chance=SeededChance(1),
            jobs=job_work(whoami, FakeJobs()),
            rescued=Rescued(lambda: None, gone=()),
            current=lambda: self.runner.state,
            measured=lambda found: None,
        )
        self.runner = Runner(
            Evacuation(effects=Effects.of(Mode.ACT)),
            performers=works.performers,
            clock=self.clock,
            chance=SeededChance(2),
            safety_margin=15.0,
            step=lambda record: self.leaving.look(),
        )
        self.watcher = Watcher(self.source, report=self.noticed, clock=self.clock, chance=SeededChance(3))
        self.leaving = Leaving(
            phase=lambda: self.runner.state.phase,
            shut_down=self.shut_down,
            hurry=self.runner.hurry,
            systemd=Systemd({}),
        )

    async def can_save(self):
        return None

    def noticed(self, noticed):
        self.runner.noticed(noticed.source, noticed.notices)

    async def shut_down(self):
        lost = await is_work_lost(self.systemd, self.read)
        if lost:
            self.source.stopping()
            self.watcher.wake()
        return lost

    async def power_off(self):
        """Return how many seconds after SIGTERM the agent was gone, and the state it left in."""
        async with asyncio.TaskGroup() as crew:
            tasks = [crew.create_task(self.runner.run()), crew.create_task(self.watcher.run())]
            self.runner.started()
            await asyncio.sleep(5)
            began = asyncio.get_running_loop().time()
            self.leaving.told()
            await self.leaving.wait()
            took = asyncio.get_running_loop().time() - began
            for task in tasks:
                task.cancel()
        return took, self.runner.state


def test_a_poweroff_with_a_job_drains_and_saves_and_then_the_agent_leaves():
    async def story():
        scene = Node()
        took, state = await scene.power_off()
        assert 60 <= took < 65  # three files, twenty seconds each
        assert (state.phase, state.outcome, state.drain) == (Phase.RESTING, Outcome.COMPLETE, Drain.OURS)
        assert [notice.kind for notice in state.notices] == [NoticeKind.SHUTDOWN]
        assert "shutdown" in scene.slurm.reasons[0]

    play(story)


def test_a_save_that_does_not_fit_ends_within_the_stop_time_with_what_there_is():
    async def story():
        scene = Node()
        scene.copier.seconds = 60
        took, state = await scene.power_off()
        assert took < STOP_TIME.total_seconds()
        assert (state.phase, state.outcome) == (Phase.RESTING, Outcome.PARTIAL)

    play(story)


@pytest.mark.parametrize(
    ("state", "systemd"), [(("IDLE",), "stopping\n"), (("ALLOCATED",), "running\n"), (("ALLOCATED",), "")]
)
def test_without_a_job_or_without_a_shutdown_it_leaves_at_once_and_touches_nothing(state, systemd):
    async def story():
        scene = Node(state=state, systemd=systemd)
        took, left = await scene.power_off()
        assert took == 0
        assert left.notices == frozenset()
        assert scene.slurm.reasons == scene.copier.saves == []

    play(story)
