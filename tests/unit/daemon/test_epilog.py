import asyncio

import pytest

from agent.daemon.epilog import Epilogs
from agent.evacuation.phases import Phase
from tests.fakes.imds_time import play
from tests.fakes.jobs import FakeJobs, job
from tests.fakes.node import FakeCopier
from tests.fakes.stage import Scene


def released(*, limit=None, notice=True, withdraw_after=None, copier=None):
    """Return when an Epilog that came 5 s into an evacuation was let go, the answer, and the stage."""

    async def scene():
        async with Scene(jobs=FakeJobs(job()), copier=copier).running() as stage:
            began = asyncio.get_running_loop().time()
            if notice:
                stage.notice()
            await asyncio.sleep(5)
            epilogs = Epilogs(current=lambda: stage.runner.state, limit=lambda: limit, safety_margin=15.0)
            if withdraw_after is not None:
                asyncio.get_running_loop().call_later(withdraw_after, stage.withdraw)
            *meanwhile, answer = [line async for line in epilogs.wait({"job": 7, "life": 0})]
            stage.meanwhile = meanwhile
            return asyncio.get_running_loop().time() - began, answer, stage

    return play(scene)


def test_an_epilog_is_held_until_the_head_is_committed():
    at, answer, stage = released()
    assert answer == {"result": {"outcome": "COMPLETE"}}
    assert at >= stage.runner.state.entered[Phase.COMMITTING] - 1000
    assert 60 < at < 120
    assert len(stage.meanwhile) >= (at - 5) // 30  # the command takes 30 s of silence for a dead daemon


def test_without_an_evacuation_an_epilog_is_let_go_at_once():
    assert released(notice=False)[0] == pytest.approx(5, abs=0.2)


def test_a_withdrawn_notice_lets_it_go():
    assert released(withdraw_after=10)[0] == pytest.approx(15, abs=0.5)


def test_it_ends_before_slurms_own_time_out_would_drain_the_node():
    assert released(limit=30.0)[0] == pytest.approx(30, abs=0.5)


def test_p6_a_commit_that_never_comes_holds_it_no_longer_than_the_deadline():
    assert released(copier=FakeCopier(stalls_at=0, commits=False))[0] <= 120.5
