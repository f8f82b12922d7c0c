import asyncio

import pytest

from agent.daemon.epilog import Epilogs
from agent.evacuation.phases import Phase
from tests.fakes.imds_time import play
from tests.fakes.jobs import FakeJobs, job
from tests.fakes.node import FakeCopier
from tests.fakes.stage import Scene


def released(*, limit=None, notice=True, notice_after=None, withdraw_after=None, copier=None, life=0, takes=0.0):
    """Return when an Epilog that came 5 s into an evacuation was let go, the answer, and the stage.

    `takes` is what the part of a requeued job takes that began as life `life`; `parts` are what was saved, by when.
    """
    parts = []

    async def save_part(job, life, *, until):
        parts.append((job, life, until))
        await asyncio.sleep(takes)
        return "saved"

    async def scene():
        async with Scene(jobs=FakeJobs(job()), copier=copier).running() as stage:
            began = asyncio.get_running_loop().time()
            if notice:
                stage.notice()
            await asyncio.sleep(5)
            epilogs = Epilogs(
                current=lambda: stage.runner.state, limit=lambda: limit, safety_margin=15.0, save_part=save_part
            )
            stage.parts = parts
            if withdraw_after is not None:
                asyncio.get_running_loop().call_later(withdraw_after, stage.withdraw)
            if notice_after is not None:
                asyncio.get_running_loop().call_later(notice_after, stage.notice)
                asyncio.get_running_loop().call_later(notice_after + 2, epilogs.give_way)
            *meanwhile, answer = [line async for line in epilogs.wait({"job": 7, "life": 1, "began": life})]
            stage.meanwhile = meanwhile
            return asyncio.get_running_loop().time() - began, answer, stage

    return play(scene)


def test_an_epilog_is_held_until_the_head_is_committed():
    at, answer, stage = released()
    assert answer == {"result": {"outcome": "COMPLETE", "part": ""}}
    assert stage.parts == []
    assert at >= stage.runner.state.entered[Phase.COMMITTING] - 1000
    assert 60 < at < 120
    assert len(stage.meanwhile) >= (at - 5) // 30  # the command takes 30 s of silence for a dead daemon


def test_without_an_evacuation_an_epilog_is_let_go_at_once():
    assert released(notice=False, life=1)[0] == pytest.approx(5, abs=0.2)


def test_a_requeued_job_of_a_node_that_stays_is_held_until_its_part_is_saved():
    at, answer, stage = released(notice=False, takes=35.0)
    assert at == pytest.approx(40, abs=0.5)
    assert answer["result"]["part"] == "saved"
    assert [part[:2] for part in stage.parts] == [(7, 0)]
    assert len(stage.meanwhile) >= 3


def test_a_part_has_no_more_time_than_slurm_gives_an_epilog():
    assert released(notice=False, limit=30.0)[2].parts[0][2] == pytest.approx(1030, abs=0.5)


@pytest.mark.parametrize("life", [1, 2, None])
def test_of_a_job_that_was_not_requeued_no_part_is_saved(life):
    assert released(notice=False, life=life)[2].parts == []


def test_a_part_gives_way_to_the_evacuation_of_the_node_which_has_it_too():
    at, answer, _ = released(notice=False, notice_after=10.0, takes=1000.0)
    assert answer["result"] == {"outcome": "COMPLETE", "part": ""}
    assert at >= 60


def test_a_withdrawn_notice_lets_it_go():
    assert released(withdraw_after=10)[0] == pytest.approx(15, abs=0.5)


def test_it_ends_before_slurms_own_time_out_would_drain_the_node():
    assert released(limit=30.0)[0] == pytest.approx(30, abs=0.5)


def test_p6_a_commit_that_never_comes_holds_it_no_longer_than_the_deadline():
    assert released(copier=FakeCopier(stalls_at=0, commits=False))[0] <= 120.5
