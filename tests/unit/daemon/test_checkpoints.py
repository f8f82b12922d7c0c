"""Checkpoints that a person asks for: one at a time."""

import asyncio

import pytest

from agent.daemon.checkpoints import Busy, Checkpoints
from agent.model.checkpoint import CheckpointId
from tests.fakes.imds_time import play
from tests.fakes.node import FakeCopier, FakeSlurmNode, FakeWhoami


def checkpoints(copier):
    async def refusal():
        await asyncio.sleep(0.5)  # as a look at the disk may

    return Checkpoints(
        copier=copier,
        whoami=FakeWhoami(FakeSlurmNode()),
        refusal=refusal,
        fresh=lambda: CheckpointId("20261123T120000.000Z-1a2b3c4d"),
        terms=lambda: {"cache": ""},
        moved=lambda message: None,
        committed=lambda saved: None,
        job_files=lambda: None,
    )


def test_of_two_that_are_asked_for_at_once_one_is_made():
    copier = FakeCopier()
    made = checkpoints(copier)

    async def taken():
        return [line async for line in made.take({})][-1]

    async def scene():
        return await asyncio.gather(taken(), taken(), return_exceptions=True)

    first, second = play(scene)
    assert "result" in first
    with pytest.raises(Busy):
        raise second
    assert len(copier.saves) == 1
    assert not made.is_busy
