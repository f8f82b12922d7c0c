"""What root asks of the daemon over its socket, and what it can't read."""

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
