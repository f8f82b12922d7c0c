from datetime import UTC, datetime

import pytest

from agent.cli.times import after, before
from agent.errors import SettingsInvalid

NOON = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-11-23T09:15:00Z", datetime(2026, 11, 23, 9, 15, tzinfo=UTC)),
        ("2026-11-23 10:15:00+01:00", datetime(2026, 11, 23, 9, 15, tzinfo=UTC)),
        ("2026-11-20", datetime(2026, 11, 20, tzinfo=UTC)),
    ],
)
def test_a_time_is_a_time_in_either_direction(text, expected):
    assert after(text, NOON) == before(text, NOON) == expected


def test_a_span_is_counted_from_now():
    assert after("10m", NOON) == datetime(2026, 11, 23, 12, 10, tzinfo=UTC)
    assert before("2h", NOON) == datetime(2026, 11, 23, 10, 0, tzinfo=UTC)


@pytest.mark.parametrize("text", ["", "soon", "10", "2026-11-23T09:15:00", "2026-13-01", "-10m"])
def test_what_is_no_time_is_refused_with_a_sample(text):
    with pytest.raises(SettingsInvalid, match='as "2026-11-23T09:15:00Z", or a span, as "10m"'):
        after(text, NOON)
