from datetime import UTC, datetime

import pytest

from agent.errors import TransientError
from agent.imds import documents
from agent.imds.unavailable import ImdsGarbage, Reason
from agent.model.node import Identity, InstanceId
from agent.model.notice import NoticeKind
from agent.notices.tag import CALM_INTERVAL, URGENT_INTERVAL, TagSource
from tests.fakes.imds import FakeMetadata

WHEN = datetime(2026, 11, 23, 11, tzinfo=UTC)
TAG = b"2026-11-23T11:00:00Z"
RESERVATION = "interruptible-capacity-reservation"


def source(imds, life_cycle="on-demand"):
    return TagSource(imds, identity=Identity(instance_id=InstanceId("i-1"), life_cycle=life_cycle))


@pytest.mark.parametrize(
    ("life_cycle", "kind", "interval"),
    [
        (RESERVATION, NoticeKind.INTERRUPTIBLE_RESERVATION, URGENT_INTERVAL),
        ("interruptible", NoticeKind.INTERRUPTIBLE_RESERVATION, URGENT_INTERVAL),
        ("something-new", NoticeKind.OPERATOR, URGENT_INTERVAL),
        ("on-demand", NoticeKind.OPERATOR, CALM_INTERVAL),
        ("spot", NoticeKind.OPERATOR, CALM_INTERVAL),
        ("capacity-block", NoticeKind.OPERATOR, CALM_INTERVAL),
        ("", NoticeKind.OPERATOR, CALM_INTERVAL),
    ],
)
async def test_the_life_cycle_says_whose_word_the_tag_is_and_how_urgent(life_cycle, kind, interval):
    imds = FakeMetadata({documents.EVACUATE_BY: TAG})
    tag = source(imds, life_cycle)
    (sighting,) = await tag.look()
    assert (sighting.kind, sighting.ends_at, tag.interval) == (kind, WHEN, interval)
    assert imds.asked == [(documents.EVACUATE_BY, interval == URGENT_INTERVAL)]


async def test_who_we_are_is_asked_once():
    imds = FakeMetadata(
        {documents.IDENTITY_DOCUMENT: b'{"instanceId":"i-7"}', documents.LIFE_CYCLE: RESERVATION.encode()}
    )
    tag = TagSource(imds)
    assert tag.interval == CALM_INTERVAL
    assert await tag.look() == ()
    assert tag.interval == URGENT_INTERVAL
    await tag.look()
    assert [path for path, _ in imds.asked].count(documents.IDENTITY_DOCUMENT) == 1


async def test_a_removed_tag_is_withdrawn_and_one_with_another_time_has_changed():
    imds = FakeMetadata({documents.EVACUATE_BY: TAG})
    tag = source(imds)
    (first,) = await tag.look()
    imds.paths[documents.EVACUATE_BY] = b"2026-11-23T12:00:00Z"
    (second,) = await tag.look()
    assert first.id == second.id
    imds.paths.clear()
    assert await tag.look() == ()


async def test_tags_that_are_switched_off_are_no_notice():
    assert await source(FakeMetadata()).look() == ()


@pytest.mark.parametrize("body", [b"", b"now", b"2026-11-23T11:00:00"])
async def test_p5_junk_in_the_tag_is_said_to_be_that_and_is_no_notice(body):
    with pytest.raises(ImdsGarbage, match="evacuate-by"):
        await source(FakeMetadata({documents.EVACUATE_BY: body})).look()


@pytest.mark.parametrize("reason", Reason)
async def test_p5_an_imds_that_does_not_answer_is_unknown_not_nothing(reason):
    imds = FakeMetadata({documents.EVACUATE_BY: TAG})
    imds.broken = reason
    for tag in (TagSource(imds), source(imds)):
        with pytest.raises(TransientError):
            await tag.look()
