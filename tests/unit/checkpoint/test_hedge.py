"""Bodies that are stuck, in simulated time."""

import asyncio

import pytest

from agent.checkpoint.hedge import Hedge
from agent.store.base import StoreUnavailable
from tests.fakes.imds_time import play

SIZE = 1000


class Wire:
    """Sends that take as many seconds as it is told, one after the other; an error is raised."""

    def __init__(self, *takes):
        self._takes = iter(takes)
        self.begun = self.cancelled = 0

    async def __call__(self):
        self.begun += 1
        number, takes = self.begun, next(self._takes)
        try:
            await asyncio.sleep(0 if isinstance(takes, Exception) else takes)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if isinstance(takes, Exception):
            raise takes
        return number


async def warm(connections=4):
    hedge = Hedge(connections)
    for _ in range(8):
        await hedge.send(SIZE, Wire(1))
    return hedge


def test_a_body_that_is_stuck_is_sent_again_and_the_first_try_let_go_of():
    async def scene():
        hedge, wire = await warm(), Wire(1000, 1)
        began = asyncio.get_running_loop().time()
        assert await hedge.send(SIZE, wire) == 2
        assert (wire.begun, wire.cancelled) == (2, 1)
        return asyncio.get_running_loop().time() - began

    assert 4 <= play(scene) <= 5


@pytest.mark.parametrize("takes", [0.1, 2.9])
def test_a_body_that_is_not_much_slower_than_others_is_sent_once(takes):
    async def scene():
        hedge, wire = await warm(), Wire(takes)
        await hedge.send(SIZE, wire)
        return wire.begun

    assert play(scene) == 1


def test_a_larger_body_has_more_time():
    async def scene():
        hedge, wire = await warm(), Wire(25)
        await hedge.send(10 * SIZE, wire)
        return wire.begun

    assert play(scene) == 1


def test_nothing_is_sent_twice_while_every_connection_has_something_to_do():
    async def scene():
        hedge = await warm(connections=2)
        wires = [Wire(50), Wire(50)]
        await asyncio.gather(*(hedge.send(SIZE, wire) for wire in wires))
        return [wire.begun for wire in wires]

    assert play(scene) == [1, 1]


def test_nothing_is_sent_twice_before_it_is_known_how_long_bodies_take():
    async def scene():
        wire = Wire(50)
        await Hedge(4).send(SIZE, wire)
        return wire.begun

    assert play(scene) == 1


def test_a_second_try_that_fails_does_not_end_the_first():
    async def scene():
        return await (await warm()).send(SIZE, Wire(20, StoreUnavailable("put", "k", "no")))

    assert play(scene) == 1


def test_an_error_is_raised_as_it_is():
    async def scene():
        with pytest.raises(StoreUnavailable):
            await (await warm()).send(SIZE, Wire(StoreUnavailable("put", "k", "no")))

    play(scene)


def test_whoever_is_cancelled_leaves_no_try_behind():
    async def scene():
        hedge, wire = await warm(), Wire(1000, 1000)
        sending = asyncio.create_task(hedge.send(SIZE, wire))
        await asyncio.sleep(10)
        sending.cancel()
        await asyncio.wait([sending])
        return wire.begun, wire.cancelled

    assert play(scene) == (2, 2)
