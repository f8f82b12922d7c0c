"""What the daemon makes of a Capacity Block: its line in the status, its reservation in Slurm."""

import asyncio
import contextlib
from dataclasses import dataclass
from datetime import datetime, timedelta

import pytest

from agent.chance import SeededChance
from agent.daemon.blocks import Reserving, show
from agent.daemon.capabilities import Capabilities, Name
from agent.notices.block import Block, BlockUnknown, make_block
from agent.processes import Finished
from agent.slurm.command import Scontrol
from agent.slurm.node import SlurmNode
from tests.fakes.imds_time import START, LoopClock, play
from tests.fakes.slurm import said

END = START + timedelta(days=1)
BLOCK = make_block("cr-1", END, instance_type="p5.48xlarge")


@dataclass
class Known:
    """What a source knows."""

    block: Block | None = None
    error: BlockUnknown | None = None
    answered: bool = True


class FakeReservations:
    """scontrol with one reservation at most; `down` is set while the controller does not answer."""

    def __init__(self):
        self.standing = None
        self.down = False
        self.writes = []

    async def run(self, argv, *, seconds, env=None) -> Finished:
        if self.down:
            return said(err="Unable to contact slurm controller (connect failure)", code=1)
        values = dict(word.split("=", maxsplit=1) for word in argv if "=" in word)
        if argv[1] == "show":
            return said(self._shown())
        self.writes.append(argv[1])
        self.standing = None if argv[1] == "delete" else {**(self.standing or {}), **values}
        return said()

    def _shown(self):
        if self.standing is None:
            return "No reservations in the system\n"
        name, nodes = self.standing["ReservationName"], self.standing["Nodes"]
        start = datetime.fromtimestamp(int(self.standing["StartTime"].removeprefix("uts"))).isoformat()  # noqa: DTZ006 - as scontrol prints it: local
        return f"ReservationName={name} StartTime={start} Nodes={nodes} State=INACTIVE\n"


class Scene:
    def __init__(self, known, *, wanted=True, has_slurm=True):
        self.slurm = FakeReservations()
        self.clock = LoopClock()
        self._node = SlurmNode("n1", Scontrol(self.slurm, "scontrol"), self.clock) if has_slurm else None
        self.reserving = Reserving(known, self._slurm_node, wanted=wanted, clock=self.clock, chance=SeededChance(1))

    async def _slurm_node(self):
        return self._node

    @contextlib.asynccontextmanager
    async def running(self):
        task = asyncio.create_task(self.reserving.run())
        self.reserving.wake()
        await asyncio.sleep(1)
        try:
            yield self
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


def after(known, **parts):
    async def scene():
        async with Scene(known, **parts).running() as stage:
            return stage

    return play(scene)


def test_the_reservation_is_made_and_then_only_looked_at():
    async def scene():
        async with Scene(Known(BLOCK)).running() as stage:
            await asyncio.sleep(3600)
            return stage

    stage = play(scene)
    assert stage.slurm.writes == ["create"]
    assert stage.slurm.standing["StartTime"] == f"uts{int(BLOCK.taken_at.timestamp())}"
    assert stage.slurm.standing["Duration"] == "30"


def test_an_extension_moves_it_at_once():
    async def scene():
        known = Known(BLOCK)
        async with Scene(known).running() as stage:
            known.block = make_block("cr-1", END + timedelta(days=1), instance_type="p5.48xlarge")
            stage.reserving.wake()
            await asyncio.sleep(1)
            return stage, known.block

    stage, block = play(scene)
    assert stage.slurm.writes == ["create", "update"]
    assert stage.slurm.standing["StartTime"] == f"uts{int(block.taken_at.timestamp())}"


def test_it_goes_with_the_block():
    async def scene():
        known = Known(BLOCK)
        async with Scene(known).running() as stage:
            known.block = None
            stage.reserving.wake()
            await asyncio.sleep(3600)
            return stage

    stage = play(scene)
    assert stage.slurm.writes == ["create", "delete"]


def test_p5_it_stays_while_ec2_does_not_say():
    async def scene():
        known = Known(BLOCK)
        async with Scene(known).running() as stage:
            known.block, known.error = None, BlockUnknown("no answer")
            stage.reserving.wake()
            await asyncio.sleep(3600)
            return stage

    assert play(scene).slurm.standing is not None


@pytest.mark.parametrize(
    ("known", "parts"),
    [
        (Known(BLOCK), {"wanted": False}),
        (Known(BLOCK), {"has_slurm": False}),
        (Known(None), {}),
        (Known(make_block("configured", END, instance_type="p5.48xlarge")), {}),
        (Known(make_block("cr-1", START + timedelta(minutes=30), instance_type="p5.48xlarge")), {}),
    ],
)
def test_none_is_made_where_it_is_not_wanted_not_known_or_too_late(known, parts):
    stage = after(known, **parts)
    assert stage.slurm.writes == []
    assert stage.reserving.trouble is None


def test_p6_a_controller_that_is_down_is_trouble_until_it_is_back():
    async def scene():
        async with Scene(Known(BLOCK)).running() as stage:
            assert stage.reserving.trouble is None
            stage.slurm.standing, stage.slurm.down = None, True
            await asyncio.sleep(700)
            assert "Unable to contact" in stage.reserving.trouble.what
            stage.slurm.down = False
            await asyncio.sleep(700)
            return stage

    stage = play(scene)
    assert stage.reserving.trouble is None
    assert stage.slurm.standing is not None


@pytest.mark.parametrize(
    ("known", "on", "detail"),
    [
        (Known(None, answered=False), None, ""),
        (Known(None), True, "in none"),
        (Known(BLOCK), True, "cr-1 ends 2026-11-24T09:15:00.000Z"),
        (Known(None, BlockUnknown("UnauthorizedOperation", sort="denied")), False, "UnauthorizedOperation"),
        (Known(BLOCK, BlockUnknown("RequestLimitExceeded")), False, "what is known: it ends 2026-11-24"),
    ],
)
def test_the_status_says_whether_the_end_is_known(known, on, detail):
    async def scene():
        capabilities = Capabilities(LoopClock(), lambda name, known: None)
        show(known, capabilities)
        return capabilities[Name.CAPACITY_BLOCK]

    shown = play(scene)
    assert shown.on is on
    assert detail in shown.detail
