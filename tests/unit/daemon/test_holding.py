"""A node that runs nothing and has files: held by Slurm while they are saved, drained within three seconds."""

import asyncio

import pytest

from agent.daemon.draining import HOLDING
from agent.evacuation.phases import Phase
from agent.evacuation.record import state_document, state_of
from agent.evacuation.state import Effects, Outcome
from agent.model.drain import Drain
from agent.model.mode import Mode
from agent.model.notice import NoticeKind
from tests.fakes.imds_time import play
from tests.fakes.jobs import FakeJobs, job
from tests.fakes.node import FakeCopier, FakeHold, FakeSlurmNode
from tests.fakes.stage import Scene


def evacuated(*, hold=None, slurm=None, notice=None, **options):
    """Play a notice of an idle node to its rest; return the stage, with `drained`: seconds from the notice."""
    slurm = slurm or FakeSlurmNode(idle=True)

    async def scene():
        async with Scene(slurm=slurm, hold=hold or FakeHold(), **options).running() as stage:
            began = asyncio.get_running_loop().time()
            stage.notice(**(notice or {}))
            while stage.runner.state.drain is None:  # noqa: ASYNC110 - time is simulated
                await asyncio.sleep(0.01)
            stage.drained = asyncio.get_running_loop().time() - began
            await stage.until(Phase.RESTING, within=121)
            return stage

    return play(scene)


def words(stage):
    return [word for _, *word in stage.hold.did]


def test_it_is_held_before_it_is_drained_and_let_go_when_all_is_saved():
    stage = evacuated(copier=FakeCopier(seconds=10.0))
    assert words(stage)[-2:] == [["begin", 3], ["end"]]
    (begun, *_), (ended, *_) = stage.hold.did[-2:]
    assert ended - begun > 25
    assert stage.runner.state.outcome is Outcome.COMPLETE
    assert stage.slurm.standing is Drain.OURS


@pytest.mark.parametrize("hold", [FakeHold(refuses=True), FakeHold(hangs=True)])
def test_p1_it_is_drained_within_three_seconds_whatever_slurm_makes_of_that(hold):
    stage = evacuated(hold=hold)
    assert stage.drained <= HOLDING + 0.1
    assert stage.runner.state.outcome is Outcome.COMPLETE
    assert "drain" not in stage.runner.state.trouble


@pytest.mark.parametrize(
    "without",
    [
        {"slurm": FakeSlurmNode(), "jobs": FakeJobs(job())},
        {"may_lose": False},
        {"mode": Mode.SAVE_ONLY},
        {"notice": {"kind": NoticeKind.SCHEDULED_EVENT, "code": "system-reboot", "source": "events"}},
    ],
)
def test_p4_a_node_that_works_or_has_nothing_to_lose_is_not_held(without):
    assert ["begin", 3] not in words(evacuated(**without))


def test_p7_what_an_agent_held_that_died_is_let_go_when_the_notice_is_gone():
    async def scene():
        async with Scene(slurm=FakeSlurmNode(idle=True), copier=FakeCopier(seconds=50.0)).running() as first:
            first.notice()
            await first.until(Phase.COPYING, within=5)
            state = state_of(state_document(first.runner.state), effects=Effects.of(Mode.ACT))
            assert words(first) == [["begin", 3]]
        async with Scene(slurm=first.slurm, state=state).running() as second:
            second.withdraw()
            await second.until(Phase.WATCHING, within=5)
            return second

    assert words(play(scene)) == [["end"]]


def test_p6_a_hold_that_slurm_does_not_take_back_keeps_no_record_from_being_written():
    stage = evacuated(hold=FakeHold(keeps=True))
    assert stage.runner.state.outcome is Outcome.COMPLETE
    assert words(stage).count(["end"]) == 1
