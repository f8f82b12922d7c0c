"""Segments made of others (P2: what a head names can be read)."""

from hypothesis import given, settings
from hypothesis import strategies as st

from agent.checkpoint.base import Base
from agent.checkpoint.merge import merge
from agent.checkpoint.packed import compacted, pack
from agent.checkpoint.segment import decode
from agent.model.checkpoint import Commit
from tests.fakes.checkpoints import a_directory, a_file, a_head, segments


def base_of(layers) -> Base:
    return Base(commit=Commit(head=a_head(), key="-", digest="-"), layers=[pack(layer).layer for layer in layers])


def test_p2_runs_that_can_be_passed_on_as_they_are_may_come_before_others_of_the_same_directory():
    runs = [
        a_directory(b"many", a_file(b"a")),
        a_directory(b"many", a_file(b"b", unsettled=True), run=1, stat=None),
        a_directory(b"many", a_file(b"c"), run=2, stat=None),
    ]
    assert list(decode(compacted(base_of([runs])).body)) == runs


def test_p2_a_run_of_nothing_but_what_is_gone_leaves_no_gap():
    runs = [
        a_directory(b"many", a_file(b"a")),
        a_directory(b"many", gone=(b"b", b"c"), run=1, stat=None),
        a_directory(b"many", a_file(b"d"), gone=(b"e",), run=2, stat=None),
        a_directory(b"many", a_file(b"f"), run=3, stat=None),
    ]
    assert list(decode(compacted(base_of([runs])).body)) == [
        runs[0],
        a_directory(b"many", a_file(b"d"), run=1, stat=None),
        a_directory(b"many", a_file(b"f"), run=2, stat=None),
    ]
    assert list(decode(pack(merge([runs], keep_gone=True)).body)) == runs


@settings(max_examples=100, derandomize=True, deadline=None)
@given(st.lists(segments(), min_size=1, max_size=4))
def test_p2_one_segment_in_the_place_of_several_says_what_they_say_together(layers):
    assert list(decode(compacted(base_of(layers)).body)) == list(merge(layers))
