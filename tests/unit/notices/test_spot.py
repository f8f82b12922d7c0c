from datetime import UTC, datetime

import pytest

from agent.errors import TransientError
from agent.imds import documents
from agent.imds.unavailable import Reason
from agent.model.node import Identity, InstanceId
from agent.model.notice import NoticeKind
from agent.notices.spot import CALM_INTERVAL, SpotSource, TerminationTime
from tests.fakes.imds import FakeMetadata

WHEN = datetime(2017, 9, 18, 8, 22, tzinfo=UTC)
ACTION = b'{"action":"terminate","time":"2017-09-18T08:22:00Z"}'


def identity(life_cycle="spot"):
    return Identity(instance_id=InstanceId("i-1"), life_cycle=life_cycle)


@pytest.mark.parametrize(
    ("who", "interval"),
    [
        (None, 1.0),
        (identity("spot"), 1.0),
        (identity(""), 1.0),
        (identity("on-demand"), CALM_INTERVAL),
        (identity("capacity-block"), CALM_INTERVAL),
    ],
)
def test_a_node_that_is_or_may_be_spot_is_polled_every_second(who, interval):
    assert SpotSource(FakeMetadata(), identity=who).interval == interval


def test_the_interval_on_spot_nodes_is_a_setting():
    assert SpotSource(FakeMetadata(), interval_when_spot=0.5).interval == 0.5


async def test_who_we_are_is_asked_once_and_in_the_same_look():
    imds = FakeMetadata(
        {
            documents.IDENTITY_DOCUMENT: b'{"instanceId":"i-7"}',
            documents.LIFE_CYCLE: b"on-demand",
            documents.INSTANCE_ACTION: ACTION,
        }
    )
    source = SpotSource(imds)
    (sighting,) = await source.look()
    assert sighting.id == "spot:i-7"
    assert source.interval == CALM_INTERVAL
    await source.look()
    assert [path for path, _ in imds.asked].count(documents.IDENTITY_DOCUMENT) == 1


async def test_a_notice_keeps_its_id_when_its_time_or_action_changes():
    imds = FakeMetadata({documents.INSTANCE_ACTION: ACTION})
    source = SpotSource(imds, identity=identity())
    (first,) = await source.look()
    imds.paths[documents.INSTANCE_ACTION] = b'{"action":"stop","time":"2017-09-18T08:25:00Z"}'
    (second,) = await source.look()
    assert first.id == second.id
    assert (first.kind, second.kind) == (NoticeKind.SPOT_TERMINATE, NoticeKind.SPOT_STOP)
    assert first.ends_at != second.ends_at


async def test_the_notice_is_asked_before_everything_that_is_not_urgent():
    imds = FakeMetadata()
    await SpotSource(imds, identity=identity()).look()
    await TerminationTime(imds).look()
    assert imds.asked == [(documents.INSTANCE_ACTION, True), (documents.TERMINATION_TIME, False)]


@pytest.mark.parametrize("reason", Reason)
async def test_p5_whatever_is_wrong_with_imds_it_is_unknown_not_nothing(reason):
    imds = FakeMetadata({documents.INSTANCE_ACTION: ACTION})
    imds.broken = reason
    for source in (SpotSource(imds), SpotSource(imds, identity=identity()), TerminationTime(imds)):
        with pytest.raises(TransientError):
            await source.look()


@pytest.mark.parametrize("body", [b"2017-09-18T08:22:00Z", b"junk", b"1999-01-01T00:00:00Z"])
async def test_p5_termination_time_alone_is_never_a_notice(body):
    imds = FakeMetadata({documents.TERMINATION_TIME: body})
    confirmation = TerminationTime(imds)
    assert await SpotSource(imds, identity=identity()).look() == ()
    assert await confirmation.look() == ()


async def test_termination_time_is_recorded_and_forgotten_again():
    imds = FakeMetadata({documents.TERMINATION_TIME: b"2017-09-18T08:22:00Z"})
    confirmation = TerminationTime(imds)
    await confirmation.look()
    assert confirmation.said == WHEN
    imds.paths.clear()
    await confirmation.look()
    assert confirmation.said is None
