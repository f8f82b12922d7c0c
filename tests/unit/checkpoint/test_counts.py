from dataclasses import replace

import pytest

from agent.checkpoint.counts import Counts
from agent.model.checkpoint import Totals
from tests.fakes.checkpoints import a_file, a_ref

BEFORE = replace(a_file(b"one", size=100, ref=a_ref(100)), link="8:1")
OTHER = replace(BEFORE, name=b"two")


def counts():
    return Counts(Totals(files=2, bytes=100))


def test_names_of_a_file_that_are_all_gone_take_its_bytes_along_once():
    both = counts()
    both.take(BEFORE)
    both.take(OTHER)
    assert both.totals(walked=True) == Totals()


@pytest.mark.parametrize("walked", [False, True])
def test_a_file_of_which_one_name_is_gone_and_the_other_stored_anew_counts_once(walked):
    one = counts()
    one.take(BEFORE)
    one.take(OTHER)
    one.add(replace(OTHER, link=BEFORE.link))
    assert one.totals(walked=walked) == Totals(files=1, bytes=100)


def test_a_file_of_which_one_name_is_gone_and_the_other_is_left_as_it_was_counts():
    one = counts()
    one.stand(OTHER)
    one.take(BEFORE)
    assert one.totals(walked=True) == Totals(files=1, bytes=100)


def test_a_name_that_is_gone_takes_nothing_along_before_all_others_are_met():
    """So that a pass which builds on a walk that was cut does not take them again."""
    cut = counts()
    cut.take(BEFORE)
    assert cut.totals(walked=False) == Totals(files=1, bytes=100)
    again = Counts(cut.totals(walked=False))
    again.take(OTHER)
    assert again.totals(walked=True) == Totals()
