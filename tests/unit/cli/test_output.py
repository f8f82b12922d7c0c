import pytest

from agent.cli.output import size, span


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (-5, "0 s"), (59.9, "59 s"), (93, "1 min 33 s"), (11100, "3 h 5 min"), (187200, "2 d 4 h")],
)
def test_a_span_has_two_units_at_most(seconds, text):
    assert span(seconds) == text


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (300 << 20, "300.0 MiB"), (5 << 40, "5.0 TiB")]
)
def test_a_size_has_one(count, text):
    assert size(count) == text
