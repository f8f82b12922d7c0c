from datetime import timedelta

import pytest

from agent.settings.units import parse_duration, parse_size, write_duration, write_size


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("1500ms", 1.5), ("90s", 90), ("1.5s", 1.5), ("2m", 120), ("12h", 43200), ("14d", 1209600), ("0s", 0), ("3 s", 3)],
)
def test_a_duration_has_a_unit(text, seconds):
    assert parse_duration(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize("text", ["90", "", "s", "-1s", "1 s s", "1e3s", "ninety s", 90, 1.5, None, True])
def test_a_duration_without_one_is_refused(text):
    with pytest.raises(ValueError, match="a duration with its unit"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("text", "count"),
    [("512B", 512), ("8MiB", 8 << 20), ("8 MiB", 8 << 20), ("500GB", 500 * 10**9), ("1.5KiB", 1536)],
)
def test_a_size_has_a_unit(text, count):
    assert parse_size(text) == count


@pytest.mark.parametrize("text", ["8", "", "MiB", "-8MiB", "8MiB or so", "8Mbit", 8, None])
def test_a_size_without_one_is_refused(text):
    with pytest.raises(ValueError, match="a size"):
        parse_size(text)


@pytest.mark.parametrize("text", ["1500ms", "90s", "2m", "12h", "14d", "0s"])
def test_a_duration_is_written_as_it_is_read(text):
    assert write_duration(parse_duration(text)) == text


@pytest.mark.parametrize("text", ["8MiB", "500000001B", "1KiB", "3GiB", "0B"])
def test_a_size_is_written_as_it_is_read(text):
    assert write_size(parse_size(text)) == text
