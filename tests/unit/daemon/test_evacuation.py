"""Runner and works together, in simulated time: hours of waiting pass in milliseconds."""

import asyncio

import pytest

from agent.daemon.saving import CannotSave
from agent.evacuation.phases import Phase
from agent.evacuation.record import state_document, state_of
from agent.evacuation.state import Effects, Outcome
from agent.model.drain import Drain
from agent.model.mode import Mode
from agent.model.notice import NoticeKind
from tests.fakes.imds_time import play
from tests.fakes.node import ME, FakeCopier, FakeSlurmNode
from tests.fakes.stage import Scene

WHOLE = [
    Phase.RETURNING,
    Phase.WATCHING,
    Phase.DRAINING,
    Phase.COPYING,
    Phase.COMMITTING,
    Phase.RELEASING,
    Phase.RESTING,
]


def test_a_notice_is_followed_to_rest_with_everything_saved():
    async def scene():
        async with Scene().running() as stage:
            stage.notice()
            await stage.until(Phase.RESTING, within=20)
            return stage

    stage = play(scene)
    assert stage.phases == WHOLE
    assert stage.runner.state.outcome is Outcome.COMPLETE
    assert stage.slurm.standing is Drain.OURS
    reason = stage.slurm.reasons[0]
    assert reason.startswith(f"hpc-agent: spot-terminate {ME.instance_id} boot=1a2b3c4d until=")
    (record,) = stage.copier.records
    assert record.document["outcome"] == "COMPLETE"
    assert record.document["window"] == pytest.approx(120, abs=0.2)
    assert not stage.copier.running


def test_p1_the_drain_is_asked_for_at_once():
    async def scene():
        async with Scene().running() as stage:
            before = len(stage.slurm.asked_at)
            told = asyncio.get_running_loop().time()
            stage.notice()
            await stage.until(Phase.COPYING)
            return stage.slurm.asked_at[before] - told

    assert play(scene) < 0.01


def test_p6_slurmctld_down_does_not_hold_the_copy_and_is_asked_until_it_is_back():
    async def scene():
        async with Scene().running() as stage:
            stage.slurm.down = 4
            stage.notice()
            await stage.until(Phase.COPYING, within=2)
            await stage.until(Phase.RESTING, within=20)
            assert stage.slurm.standing is Drain.NONE
            await asyncio.sleep(10)
            assert "Unable to contact" in stage.runner.state.trouble["drain"].what
            await asyncio.sleep(60)
            return stage

    stage = play(scene)
    assert stage.slurm.standing is Drain.OURS
    assert stage.runner.state.outcome is Outcome.COMPLETE
    assert "drain" not in stage.runner.state.trouble


def test_p6_s3_that_never_answers_comes_to_nothing_and_says_why():
    async def scene():
        async with Scene(copier=FakeCopier(stalls_at=0, commits=False)).running() as stage:
            stage.notice()
            await stage.until(Phase.RESTING, within=121)
            return stage

    stage = play(scene)
    assert stage.slurm.standing is Drain.OURS
    assert stage.runner.state.outcome is Outcome.NOTHING
    assert stage.runner.state.trouble["copy"].what == "put: no answer"


def test_a_copy_that_does_not_fit_is_partial_and_committed_before_the_end():
    async def scene():
        async with Scene(copier=FakeCopier(files=1000)).running() as stage:
            stage.notice()
            await stage.until(Phase.RESTING, within=111)
            return stage

    state = play(scene).runner.state
    assert state.outcome is Outcome.PARTIAL
    assert 100 <= state.saved.totals.files <= 105


def test_p7_a_copier_that_dies_is_started_again_with_the_same_checkpoint():
    async def scene():
        async with Scene(copier=FakeCopier(dies_at=1)).running() as stage:
            stage.notice()
            await stage.until(Phase.RESTING, within=20)
            return stage

    stage = play(scene)
    assert len(stage.copier.saves) == 2
    assert stage.copier.saves[0] == stage.copier.saves[1]
    assert stage.runner.state.outcome is Outcome.COMPLETE


def test_what_s3_refuses_is_asked_for_again_while_there_is_time():
    async def scene():
        async with Scene(copier=FakeCopier(refusals=3)).running() as stage:
            stage.notice()
            await asyncio.sleep(1.5)
            assert "AccessDenied" in stage.runner.state.trouble["copy"].what
            await stage.until(Phase.RESTING, within=20)
            return stage

    assert play(scene).runner.state.outcome is Outcome.COMPLETE


@pytest.mark.parametrize("after", [0.005, 1.5, 2.5, 30.0])
def test_p4_a_withdrawn_notice_lifts_our_drain_and_stops_the_copy(after):
    async def scene():
        async with Scene(copier=FakeCopier(files=20)).running() as stage:
            stage.notice()
            await asyncio.sleep(after)
            stage.withdraw()
            await stage.until(Phase.WATCHING, within=5)
            return stage

    stage = play(scene)
    assert stage.slurm.standing is Drain.NONE
    assert not stage.copier.running


def test_p4_a_drain_of_somebody_else_stays_theirs():
    async def scene():
        async with Scene(slurm=FakeSlurmNode(drain=Drain.THEIRS)).running() as stage:
            stage.notice()
            await stage.until(Phase.RESTING, within=20)
            assert stage.runner.state.drain is Drain.THEIRS
            stage.withdraw()
            await stage.until(Phase.WATCHING, within=5)
            return stage

    stage = play(scene)
    assert stage.slurm.standing is Drain.THEIRS
    assert not stage.slurm.reasons


def test_a_machine_that_outlives_its_deadline_watches_again():
    async def scene():
        async with Scene().running() as stage:
            spot = stage.notice()
            await stage.until(Phase.RESTING, within=20)
            await stage.until(Phase.WATCHING, within=900)
            stage.runner.noticed("spot", frozenset({spot}))
            await asyncio.sleep(300)
            return stage

    stage = play(scene)
    assert stage.runner.state.phase is Phase.WATCHING
    assert stage.slurm.standing is Drain.NONE
    assert len(stage.copier.saves) == 1


def test_p5_our_drain_is_kept_after_a_restart_until_the_sources_are_heard():
    async def scene():
        stage = Scene(slurm=FakeSlurmNode(drain=Drain.OURS))
        stage.heard = False
        async with stage.running():
            await asyncio.sleep(30)
            assert stage.slurm.standing is Drain.OURS
            assert stage.runner.state.phase is Phase.RETURNING
            stage.heard = True
            await stage.until(Phase.WATCHING, within=5)
            return stage

    assert play(scene).slurm.standing is Drain.NONE


def test_p4_a_withdrawn_notice_lifts_our_drain_though_another_source_never_answers():
    async def scene():
        stage = Scene()
        async with stage.running():
            await stage.until(Phase.WATCHING, within=5)
            stage.heard = False
            stage.notice()
            await stage.until(Phase.RESTING, within=20)
            stage.withdraw()
            await stage.until(Phase.WATCHING, within=5)
            return stage

    assert play(scene).slurm.standing is Drain.NONE


@pytest.mark.parametrize(("mode", "drained", "saves"), [(Mode.OBSERVE, False, 0), (Mode.SAVE_ONLY, False, 1)])
def test_the_mode_says_how_far_it_goes_and_the_rest_is_written_down(mode, drained, saves):
    async def scene():
        async with Scene(mode=mode).running() as stage:
            stage.notice()
            await stage.until(Phase.RESTING, within=200)
            return stage

    stage = play(scene)
    assert (stage.slurm.standing is Drain.OURS) is drained
    assert len(stage.copier.saves) == saves
    assert "would have been drained" in stage.runner.state.withheld["drain"]
    assert ("copy" in stage.runner.state.withheld) is (mode is Mode.OBSERVE)


def test_p6_without_a_bucket_the_node_is_drained_all_the_same():
    async def scene():
        async with Scene(refusal=CannotSave("use", "the bucket", "no bucket is set")).running() as stage:
            stage.notice()
            await stage.until(Phase.RESTING, within=20)
            return stage

    stage = play(scene)
    assert stage.slurm.standing is Drain.OURS
    assert stage.runner.state.outcome is Outcome.NOTHING
    assert "no bucket" in stage.runner.state.trouble["copy"].what


def test_p6_a_scontrol_that_hangs_for_ever_holds_nothing_up():
    async def scene():
        stage = Scene()
        async with stage.running():
            stage.slurm.silent = True
            stage.notice()
            await stage.until(Phase.RESTING, within=20)
            return stage

    assert play(scene).runner.state.outcome is Outcome.COMPLETE


def test_a_bug_in_one_piece_of_work_does_not_stop_the_rest(caplog):
    async def scene():
        stage = Scene()
        stage.slurm.drain = None  # "NoneType is not callable"
        async with stage.running():
            stage.notice()
            await stage.until(Phase.RESTING, within=20)
            return stage

    state = play(scene).runner.state
    assert state.outcome is Outcome.COMPLETE
    assert "bug" in state.trouble["drain"].what
    assert "bug in drain" in caplog.text


def test_p10_what_went_wrong_outlives_the_node_in_its_log(caplog):
    async def scene():
        async with Scene(copier=FakeCopier(refusals=1000), slurm=FakeSlurmNode(down=2)).running() as stage:
            stage.notice()
            await stage.until(Phase.RESTING, within=121)

    play(scene)
    said = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert "drain: scontrol show node: Unable to contact slurm controller" in said
    assert "copy: ask the copier: put: AccessDenied (allow s3:PutObject)" in said
    assert len(said) == len(set(said)), "once while it is the same"


def test_a_scheduled_event_days_away_is_waited_for():
    """NotBefore is honoured: the node works until its lead time, 15 minutes."""

    async def scene():
        async with Scene().running() as stage:
            stage.notice(3 * 86400, kind=NoticeKind.SCHEDULED_EVENT, code="instance-retirement", source="events")
            await asyncio.sleep(3 * 86400 - 1000)
            assert stage.runner.state.phase is Phase.WATCHING
            await stage.until(Phase.RESTING, within=150)
            return stage

    stage = play(scene)
    assert stage.slurm.standing is Drain.OURS
    assert stage.runner.state.outcome is Outcome.COMPLETE


def test_a_reboot_that_keeps_the_disk_is_drained_for_and_nothing_is_saved():
    async def scene():
        async with Scene().running() as stage:
            stage.notice(600, kind=NoticeKind.SCHEDULED_EVENT, code="system-reboot", source="events")
            await stage.until(Phase.RESTING, within=10)
            return stage

    stage = play(scene)
    assert stage.slurm.standing is Drain.OURS
    assert not stage.copier.saves
    assert not stage.copier.records


def test_a_rebalance_recommendation_is_saved_ahead_once_and_the_node_works_on():
    async def scene():
        async with Scene().running() as stage:
            stage.notice(0, kind=NoticeKind.REBALANCE, source="rebalance")
            await asyncio.sleep(3600)
            return stage

    stage = play(scene)
    assert stage.runner.state.phase is Phase.WATCHING
    assert stage.slurm.standing is Drain.NONE
    (save,) = stage.ahead.saves
    assert save.reason == "lead"
    assert not stage.copier.saves


def test_a_notice_ends_the_copy_ahead_and_begins_the_rescue():
    async def scene():
        async with Scene().running() as stage:
            stage.ahead.files = 1000
            stage.notice(0, kind=NoticeKind.REBALANCE, source="rebalance")
            await asyncio.sleep(10)
            assert stage.ahead.running
            stage.notice()
            await stage.until(Phase.RESTING, within=20)
            return stage

    stage = play(scene)
    assert not stage.ahead.running
    assert stage.runner.state.outcome is Outcome.COMPLETE


def test_the_second_notice_rules_when_the_first_is_withdrawn():
    async def scene():
        async with Scene(copier=FakeCopier(files=200)).running() as stage:
            stage.notice(120)
            stage.notice(300, kind=NoticeKind.OPERATOR, source="operator")
            await asyncio.sleep(5)
            stage.withdraw()
            await asyncio.sleep(5)
            assert stage.runner.state.phase is Phase.COPYING
            assert stage.slurm.standing is Drain.OURS
            assert "operator" in stage.slurm.reasons[-1]
            stage.withdraw("operator")
            await stage.until(Phase.WATCHING, within=5)
            return stage

    assert play(scene).slurm.standing is Drain.NONE


@pytest.mark.parametrize("moved", [60.0, 300.0])
def test_p3_a_copy_under_way_is_told_that_its_deadline_has_moved(moved):
    async def scene():
        async with Scene(copier=FakeCopier(files=30)).running() as stage:
            began = asyncio.get_running_loop().time()
            stage.notice(120.0)
            await asyncio.sleep(10)
            stage.notice(moved - 10)
            await asyncio.sleep(10)
            return stage, began

    stage, began = play(scene)
    assert [save.until - began for save in stage.copier.saves] == [pytest.approx(105, abs=0.1)]
    assert [until - began for until in stage.copier.moves] == [pytest.approx(moved - 15, abs=0.1)]


def test_p7_a_copier_that_is_started_again_goes_by_the_deadline_of_now():
    async def scene():
        async with Scene(copier=FakeCopier(files=30, dies_at=20)).running() as stage:
            began = asyncio.get_running_loop().time()
            stage.notice(120.0)
            await asyncio.sleep(10)
            stage.notice(290.0)
            await asyncio.sleep(15)
            return stage, began

    stage, began = play(scene)
    assert [save.until - began for save in stage.copier.saves] == pytest.approx([105, 285], abs=0.1)


def story():
    """The steps of one evacuation, to be cut anywhere."""

    async def scene():
        async with Scene(copier=FakeCopier(files=5)).running() as stage:
            stage.notice()
            await stage.until(Phase.RESTING, within=30)
            return stage.steps

    return play(scene)


@pytest.mark.parametrize("cut", range(3, 14))
def test_p7_killed_after_any_step_the_next_life_brings_it_to_the_same_end(cut):
    steps = story()
    written = state_document(steps[min(cut, len(steps) - 1)].state)

    async def scene():
        state = state_of(written, effects=Effects.of(Mode.ACT))
        async with Scene(state=state, slurm=FakeSlurmNode(drain=Drain.OURS)).running() as stage:
            if state.notices:
                stage.runner.noticed("spot", state.notices)
                await stage.until(Phase.RESTING, within=120)
                assert stage.runner.state.outcome is Outcome.COMPLETE
                assert stage.slurm.standing is Drain.OURS
            return stage

    play(scene)
