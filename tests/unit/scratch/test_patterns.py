import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.scratch.patterns import Ranks, matcher

PARTS = st.sampled_from(["a", "b", "ab", "*", "?", "[ab]", "[!a]", "[", "a*"])
PATTERNS = st.lists(st.lists(PARTS, min_size=1, max_size=3).map("/".join), max_size=3)
PATHS = st.lists(st.sampled_from([b"a", b"b", b"ab", b"[", b"abc"]), min_size=1, max_size=4).map(b"/".join)


def test_the_first_pattern_that_matches_a_file_gives_its_rank():
    ranks = Ranks(["*.ckpt", "results/*", "*"])
    assert [ranks.of(path) for path in (b"results/x.ckpt", b"results/deep/y", b"z")] == [0, 1, 2]


def test_what_is_below_a_directory_that_matches_goes_with_it():
    ranks = Ranks(["keep", "run?/"])
    assert [ranks.of(path) for path in (b"keep/a/b", b"run1/a", b"keeper", b"a/keep/b")] == [0, 1, 2, 2]


def test_without_patterns_all_files_are_of_one_rank():
    assert (Ranks([]).of(b"a"), Ranks([]).last) == (0, 0)


def test_names_that_are_not_utf_8_match():
    assert Ranks(["*/\udcff"]).of(b"a/\xff") == 0


@pytest.mark.parametrize(
    ("pattern", "inside", "outside"),
    [
        ("a/b/c*", [b"", b"a", b"a/b", b"a/b/cd/e"], [b"b", b"a/c", b"a/b/d"]),
        ("*.ckpt", [b"", b"anything/at/all"], []),
        ("keep", [b"", b"keep", b"keep/below"], [b"a", b"other/keep"]),
    ],
)
def test_only_directories_are_in_reach_where_a_match_may_be(pattern, inside, outside):
    reach = Ranks([pattern]).reach
    assert [directory for directory in (*inside, *outside) if reach(directory)] == inside


@given(PATTERNS, PATHS)
def test_every_directory_above_a_file_with_a_rank_is_in_reach(patterns, path):
    ranks = Ranks(patterns)
    if ranks.of(path) < ranks.last:
        parts = path.split(b"/")
        assert all(ranks.reach(b"/".join(parts[:depth])) for depth in range(len(parts)))


@given(PATTERNS, PATHS)
def test_a_pattern_gives_a_rank_to_just_what_it_would_exclude(patterns, path):
    """One language for both settings: a walk leaves out what matches, with all that is below it."""
    excludes, ranks, parts = matcher(patterns), Ranks(patterns), path.split(b"/")
    above = [b"/".join(parts[:depth]) for depth in range(1, len(parts) + 1)]
    assert any(excludes and excludes(one) for one in above) is (ranks.of(path) < ranks.last)
