from datetime import UTC, datetime, timedelta

import pytest

from agent.errors import TransientError
from agent.imds import documents
from agent.imds.unavailable import Reason
from agent.model.notice import NoticeKind
from agent.notices.rebalance import FRESH_FOR, RebalanceSource
from agent.notices.sighting import Instant, settle
from tests.fakes.imds import FakeMetadata

MADE = datetime(2020, 11, 5, 8, 22, tzinfo=UTC)
BODY = b'{"noticeTime":"2020-11-05T08:22:00Z"}'


async def shown(body=BODY):
    return await RebalanceSource(FakeMetadata({documents.REBALANCE: body})).look()


async def test_a_recommendation_is_the_same_over_restarts_and_another_one_is_another():
    (first,), (again,) = await shown(), await shown()
    (later,) = await shown(b'{"noticeTime":"2020-11-05T09:00:00Z"}')
    assert first == again
    assert first.id != later.id
    assert (first.kind, first.ends_at) == (NoticeKind.REBALANCE, MADE)


@pytest.mark.parametrize(
    ("age", "stale"),
    [(timedelta(0), False), (timedelta(minutes=30), False), (FRESH_FOR, False), (timedelta(hours=2), True)],
)
async def test_a_recommendation_that_is_minutes_old_counts_and_one_that_is_hours_old_does_not(age, stale):
    (notice,) = settle({}, await shown(), now=Instant(wall=MADE + age, mono=1000.0))
    assert (notice.stale, notice.due) == (stale, 1000.0)


async def test_no_recommendation_is_nothing():
    assert await RebalanceSource(FakeMetadata()).look() == ()


@pytest.mark.parametrize("reason", Reason)
async def test_p5_an_imds_that_does_not_answer_is_unknown_not_nothing(reason):
    imds = FakeMetadata({documents.REBALANCE: BODY})
    imds.broken = reason
    with pytest.raises(TransientError):
        await RebalanceSource(imds).look()
