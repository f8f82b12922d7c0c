"""Which life of a job a node has, as the shipped Prolog writes it down."""

import pytest

from agent.jobs.lives import Life, Lives


def test_what_the_prolog_wrote_is_read(tmp_path):
    (tmp_path / "7").write_text("2 n[1-3,7]\n")
    assert Lives(tmp_path).of(7) == Life(number=2, node_list="n[1-3,7]")
    assert Lives(tmp_path).of(8) is None
    assert Lives(tmp_path / "none").of(7) is None


@pytest.mark.parametrize("text", ["", "2", "2 \n", "2 n1", "x n1\n", "-1 n1\n", "1 n1 n2\n", "\x00 n1\n"])
def test_what_is_something_else_or_cut_short_is_nothing(text):
    assert Life.parse(text) is None
