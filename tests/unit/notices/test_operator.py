from datetime import UTC, datetime, timedelta

from agent.model.notice import Notice, NoticeKind
from agent.notices.operator import OperatorSource

WHEN = datetime(2026, 11, 23, 9, 15, tzinfo=UTC)


def notice(source, ends_at=WHEN):
    return Notice(id=source, kind=NoticeKind.OPERATOR, ends_at=ends_at, due=1.0, seen_at=WHEN, source=source)


async def test_nothing_is_shown_until_somebody_asks():
    assert await OperatorSource().look() == ()


async def test_evacuate_shows_one_notice_and_asking_again_moves_it():
    source = OperatorSource()
    source.evacuate(WHEN)
    (first,) = await source.look()
    source.evacuate(WHEN + timedelta(minutes=5))
    (second,) = await source.look()
    assert first.id == second.id
    assert (first.kind, first.source) == (NoticeKind.OPERATOR, "operator")
    assert second.ends_at - first.ends_at == timedelta(minutes=5)


async def test_cancel_withdraws_it_and_says_whether_there_was_one():
    source = OperatorSource()
    assert source.cancel() is False
    source.evacuate(WHEN)
    assert source.cancel() is True
    assert await source.look() == ()


async def test_p7_the_notice_of_the_journal_stands_after_a_restart():
    (sighting,) = await OperatorSource([notice("spot"), notice("operator")]).look()
    assert (sighting.id, sighting.ends_at) == ("operator", WHEN)
    assert await OperatorSource([notice("spot")]).look() == ()
