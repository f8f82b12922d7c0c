"""Which record of a head is the job's, and what the job is told in the end."""

from dataclasses import replace

import pytest

from agent.jobs.choice import Result, is_exact, rank_of, record_for, result
from agent.jobs.record import JobRecord

WHOLE = JobRecord(
    job=7,
    array="",
    user="alice",
    uid=4242,
    name="count",
    life=0,
    rank=0,
    nodes=1,
    node_list="n1",
    paths=(),
    alone=True,
    quiesced=True,
    complete=True,
)
WANTED = {"job": 7, "uid": 4242, "life": 0, "rank": 0}


def test_the_record_of_the_job_its_user_its_life_and_its_rank_is_found():
    jobs = [{"job": "damaged"}, replace(WHOLE, job=8).document(), WHOLE.document()]
    assert record_for(jobs, **WANTED) == WHOLE


@pytest.mark.parametrize("other", [{"job": 8}, {"uid": 0}, {"uid": 4343}, {"life": 1}, {"rank": 1}])
def test_p8_a_record_of_another_job_user_life_or_rank_is_not_the_jobs(other):
    assert record_for([replace(WHOLE, **other).document()], **WANTED) is None


@pytest.mark.parametrize("lack", [{"complete": False}, {"quiesced": False}, {"torn": 1}])
def test_files_that_were_being_written_are_not_exact(lack):
    assert is_exact(WHOLE)
    assert not is_exact(replace(WHOLE, **lack))
    assert result(replace(WHOLE, **lack), is_newest=True, is_whole=True) == Result.PARTIAL


@pytest.mark.parametrize(
    ("is_newest", "is_whole", "told"),
    [(True, True, "complete"), (False, True, "older"), (True, False, "partial"), (False, False, "partial")],
)
def test_the_job_is_told_what_came_of_it(is_newest, is_whole, told):
    assert result(WHOLE, is_newest=is_newest, is_whole=is_whole) == told


def test_a_rank_is_the_place_in_the_list():
    assert rank_of("n2", ["n1", "n2"]) == 1
    assert rank_of("n9", ["n1", "n2"]) is None
