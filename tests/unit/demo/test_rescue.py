import pytest

from agent.demo.rescue import Rescue


def status(**values):
    progress = {"walked": True, "bytes_done": 4, "bytes_total": 5, "bytes_sent": 4}
    known = {"state": "copying", "progress": progress, "checkpoint": None, "outcome": None, "trouble": []}
    return known | values


def progress(**values):
    return {"walked": True, "bytes_done": 5, "bytes_total": 5, "bytes_sent": 5} | values


@pytest.mark.parametrize(
    ("told", "copied"),
    [
        (None, False),
        (progress(walked=False), False),
        (progress(bytes_done=4), False),
        (progress(), True),
    ],
)
def test_the_last_byte_is_there_when_the_walk_is_over_and_nothing_is_missing(told, copied):
    rescue = Rescue()
    rescue.see(status(progress=told), 7.0)
    assert rescue.last_byte == (7.0 if copied else None)


@pytest.mark.parametrize(
    ("told", "committed"),
    [
        ({}, False),
        ({"checkpoint": {"complete": False}}, False),
        ({"checkpoint": {"complete": True}}, True),
        ({"checkpoint": {"complete": False}, "state": "resting"}, True),
    ],
)
def test_a_head_on_the_way_is_not_the_commit(told, committed):
    rescue = Rescue()
    rescue.see(status(**told), 7.0)
    assert rescue.committed == (7.0 if committed else None)


def test_the_first_time_that_something_is_seen_counts():
    rescue = Rescue()
    for now in (1.0, 2.0, 3.0):
        rescue.see(status(progress=progress(), checkpoint={"complete": True}), now)
    assert (rescue.last_byte, rescue.committed) == (1.0, 1.0)


def test_the_outcome_is_the_agents_word_or_what_can_be_seen_when_the_node_goes():
    rescue = Rescue()
    assert rescue.outcome == "NOTHING, and the time is over"
    assert rescue.sent == 0
    rescue.see(status(checkpoint={"complete": False}), 1.0)
    assert rescue.outcome == "PARTIAL, and the time is over"
    assert (rescue.is_over, rescue.sent) == (False, 4)
    rescue.see(status(checkpoint={"complete": True}, state="resting", outcome="COMPLETE"), 2.0)
    assert (rescue.outcome, rescue.is_over) == ("COMPLETE", True)


def test_trouble_is_told_in_one_line():
    rescue = Rescue()
    assert rescue.trouble == "no trouble was told"
    rescue.see(status(trouble=[{"what": "S3 is away"}, {"what": "slurmctld is away"}]), 1.0)
    assert rescue.trouble == "S3 is away; slurmctld is away"
