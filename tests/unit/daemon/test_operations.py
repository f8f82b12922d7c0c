"""What root asks of the daemon over its socket, and what it can't read."""

import os

import pytest

from agent.clock import SystemClock
from agent.daemon.control import BadRequest
from agent.daemon.operations import Operations
from agent.jobs.choice import Result
from agent.notices.operator import OperatorSource


@pytest.fixture
def counted():
    return []


@pytest.fixture
def operations(counted):
    return Operations(
        status=dict, operator=OperatorSource(), wake=lambda: None, count=counted.append, clock=SystemClock()
    )


async def test_what_a_job_got_back_is_counted_by_its_word(operations, counted):
    assert [answer async for answer in operations.restored({"result": "older"})] == [{"result": {"counted": "older"}}]
    assert counted == [Result.OLDER]


@pytest.mark.parametrize("word", ["some", "", None, 7, ["older"]])
async def test_a_word_that_is_none_is_refused_and_counts_nothing(operations, counted, word):
    with pytest.raises(BadRequest, match="no such result"):
        await anext(operations.restored({"result": word}))
    assert counted == []


@pytest.mark.parametrize(("uid", "is_told"), [(0, True), (os.geteuid(), True), (4242, False)])
async def test_p8_root_and_who_the_daemon_runs_as_are_told_all(uid, is_told):
    asked = Operations(
        status=lambda is_root: {"whole": is_root},
        operator=OperatorSource(),
        wake=lambda: None,
        count=lambda result: None,
        clock=SystemClock(),
    )
    assert [line async for line in asked.status({"uid": uid})] == [{"whole": is_told}]
