import pytest

from agent.model.job import Restore, Wishes
from agent.slurm.comment import CommentInvalid, wishes


@pytest.mark.parametrize("comment", ["", "project 17", "see hpc-agent.example", "HPC-AGENT:signal=USR1"])
def test_a_comment_that_does_not_speak_to_us_wishes_nothing(comment):
    assert wishes(comment) == Wishes()
    assert Wishes().signal is None


def test_the_whole_form_is_read():
    wished = wishes("hpc-agent:signal=USR1,grace=40s,restore=off")
    assert wished == Wishes(signal="USR1", grace=40.0, restore=Restore.OFF)


def test_a_job_can_ask_for_no_signal_whatever_the_operator_gives_to_all():
    assert wishes("hpc-agent:signal=none,restore=off") == Wishes(signal="", restore=Restore.OFF)


def test_other_words_may_stand_beside_it():
    assert wishes("project=17 hpc-agent:restore=fuzzy night run") == Wishes(restore=Restore.FUZZY)


def test_minutes_are_a_unit_too():
    assert wishes("hpc-agent:signal=TERM,grace=2m").grace == 120.0


@pytest.mark.parametrize(
    "wish",
    [
        "",
        "signal",
        "signal=",
        "signal=SIGUSR1",
        "signal=10",
        "signal=KILL",
        "signal=STOP",
        "signal=usr1",
        "signal=USR1,",
        "signal=NONE",
        "signal=none,grace=40s",
        "signal=USR1,grace=40",
        "signal=USR1,grace=-1s",
        "signal=USR1,grace=11m",
        "signal=USR1,grace=٤s",
        "signal=USR1,signal=USR2",
        "signal=USR1,colour=red",
        "grace=40s",
        "restore=never",
        "signal=USR1;grace=40s",
        "signal=USR1 hpc-agent:grace=40s",
    ],
)
def test_p4_a_wish_that_is_not_understood_to_the_letter_is_none(wish):
    with pytest.raises(CommentInvalid):
        wishes(f"hpc-agent:{wish}")
