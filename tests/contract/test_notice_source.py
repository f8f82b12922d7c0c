"""What every source of notices keeps to, whatever is behind it."""

import asyncio
import json
from datetime import UTC, datetime, timedelta

import pytest

from agent.clock import SystemClock
from agent.demo.imds import EmbeddedImds, Fault
from agent.errors import TransientError
from agent.imds.client import Imds
from agent.notices.events import EventSource
from agent.notices.operator import OperatorSource
from agent.notices.spot import SpotSource
from agent.notices.tag import TagSource
from tests.fakes.imds import FakeMetadata

SOON = datetime(2026, 11, 23, 9, 17, tzinfo=UTC)


class Spot:
    """The Spot source on the embedded IMDS, over HTTP."""

    async def begin(self):
        self.server = EmbeddedImds()
        await self.server.start()
        self.imds = await Imds(endpoint=self.server.endpoint, clock=SystemClock(), seconds=0.2).__aenter__()
        self.source = SpotSource(self.imds)

    async def end(self):
        await self.imds.__aexit__()
        await self.server.stop()

    def arrive(self, at):
        self.server.interrupt("terminate", at)

    def withdraw(self):
        self.server.withdraw()

    async def fail(self):
        await self.server.fault(Fault.HANG)


class SpotWithoutWire:
    """The same source on the fake of instance metadata: what the unit tests use has to behave alike."""

    async def begin(self):
        self.imds = FakeMetadata({"dynamic/instance-identity/document": b'{"instanceId":"i-1"}'})
        self.source = SpotSource(self.imds)

    async def end(self):
        pass

    def arrive(self, at):
        body = f'{{"action":"terminate","time":"{at.isoformat()}"}}'
        self.imds.paths["meta-data/spot/instance-action"] = body.encode()

    def withdraw(self):
        del self.imds.paths["meta-data/spot/instance-action"]

    async def fail(self):
        self.imds.broken = "timeout"


class Tag:
    """The tag that stands for what IMDS does not carry."""

    async def begin(self):
        self.imds = FakeMetadata({"dynamic/instance-identity/document": b'{"instanceId":"i-1"}'})
        self.source = TagSource(self.imds)

    async def end(self):
        pass

    def arrive(self, at):
        self.imds.paths["meta-data/tags/instance/hpc-agent:evacuate-by"] = at.isoformat().encode()

    def withdraw(self):
        del self.imds.paths["meta-data/tags/instance/hpc-agent:evacuate-by"]

    async def fail(self):
        self.imds.broken = "timeout"


class TagOverHttp(Tag):
    """The same on the embedded IMDS: the colon in its path goes over the wire as it is."""

    async def begin(self):
        self.server = EmbeddedImds()
        await self.server.start()
        self.imds = await Imds(endpoint=self.server.endpoint, clock=SystemClock(), seconds=0.2).__aenter__()
        self.source = TagSource(self.imds)

    async def end(self):
        await self.imds.__aexit__()
        await self.server.stop()

    def arrive(self, at):
        self.server.paths["meta-data/tags/instance/hpc-agent:evacuate-by"] = at.isoformat()

    def withdraw(self):
        del self.server.paths["meta-data/tags/instance/hpc-agent:evacuate-by"]

    async def fail(self):
        await self.server.fault(Fault.HANG)


class ScheduledEvent(Tag):
    """One scheduled event."""

    async def begin(self):
        self.imds = FakeMetadata()
        self.source = EventSource(self.imds)

    def arrive(self, at):
        entry = {"EventId": "e-1", "Code": "system-reboot", "NotBefore": at.isoformat(), "State": "active"}
        self.imds.paths["meta-data/events/maintenance/scheduled"] = json.dumps([entry]).encode()

    def withdraw(self):
        self.imds.paths["meta-data/events/maintenance/scheduled"] = b"[]"


class Operator:
    """A person at the control socket."""

    async def begin(self):
        self.source = OperatorSource()

    async def end(self):
        pass

    def arrive(self, at):
        self.source.evacuate(at)

    def withdraw(self):
        self.source.cancel()

    fail = None


@pytest.fixture(
    params=[Spot, SpotWithoutWire, Tag, TagOverHttp, ScheduledEvent, Operator], ids=lambda stage: stage.__name__
)
async def stage(request):
    stage = request.param()
    await stage.begin()
    yield stage
    await stage.end()


async def test_it_has_a_name_and_an_interval(stage):
    assert stage.source.name.replace("-", "").isalpha()
    assert stage.source.interval > 0


async def test_a_notice_is_shown_while_it_stands(stage):
    assert list(await stage.source.look()) == []
    stage.arrive(SOON)
    (first,) = await stage.source.look()
    (again,) = await stage.source.look()
    assert first == again
    assert first.ends_at == SOON
    assert first.source == stage.source.name
    stage.withdraw()
    assert list(await stage.source.look()) == []


async def test_a_changed_time_keeps_the_id(stage):
    stage.arrive(SOON)
    (first,) = await stage.source.look()
    stage.arrive(SOON + timedelta(minutes=1))
    (second,) = await stage.source.look()
    assert (first.id, second.ends_at) == (second.id, SOON + timedelta(minutes=1))


async def test_p5_unknown_is_a_transient_error(stage):
    if stage.fail is None:
        return  # what a person said is always known
    await stage.fail()
    with pytest.raises(TransientError):
        await stage.source.look()


async def test_a_cancelled_look_can_be_repeated(stage):
    stage.arrive(SOON)
    look = asyncio.create_task(stage.source.look(), name="look")
    await asyncio.sleep(0)
    look.cancel()
    await asyncio.wait([look])
    assert len(await stage.source.look()) == 1
