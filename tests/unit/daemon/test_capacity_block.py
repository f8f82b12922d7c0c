"""A Capacity Block from EC2's answer to the drain and back, in simulated time: source, watcher, runner and works."""

import asyncio
import contextlib
from datetime import timedelta

import pytest

from agent.daemon.capabilities import Name
from agent.evacuation.phases import Phase
from agent.evacuation.state import Outcome
from agent.model.drain import Drain
from agent.notices.block import share
from tests.fakes.block_stage import Stage
from tests.fakes.imds_time import play
from tests.fakes.node import ME

MINUTE = 60.0
HOUR = 60 * MINUTE
DAY = 24 * HOUR


def test_the_evacuation_begins_ten_minutes_before_the_instances_are_taken():
    """72 hours of waiting: K is EndDate - 30 min, this node's own moment up to 15 s before it."""

    async def scene():
        async with Stage(hours=72).running() as stage:
            await stage.until(72 * HOUR - 40 * MINUTE - 20)
            assert stage.runner.state.phase is Phase.WATCHING
            assert stage.slurm.standing is Drain.NONE
            await stage.until(72 * HOUR - 38 * MINUTE)
            return stage

    stage = play(scene)
    acts = 72 * HOUR - 40 * MINUTE - share(ME.instance_id).total_seconds()
    assert stage.entered(Phase.DRAINING) == pytest.approx(acts, abs=0.01)
    assert stage.runner.state.phase is Phase.RESTING
    assert stage.runner.state.outcome is Outcome.COMPLETE
    assert stage.slurm.reasons[0].startswith("hpc-agent: capacity-block-end ")


def test_the_nodes_of_a_block_drain_within_15_seconds_of_each_other():
    async def scene():
        ids = [f"i-{number:017x}" for number in range(24)]
        stages = [Stage(hours=5, instance_id=id_, seed=number) for number, id_ in enumerate(ids)]
        async with contextlib.AsyncExitStack() as stack:
            for stage in stages:
                await stack.enter_async_context(stage.running())
            await asyncio.sleep(5 * HOUR - 39 * MINUTE)
            return [stage.entered(Phase.DRAINING) for stage in stages]

    drained = play(scene)
    assert max(drained) - min(drained) < 15
    assert len({round(at) for at in drained}) > 8
    assert max(drained) <= 5 * HOUR - 40 * MINUTE + 0.1


@pytest.mark.parametrize("after", [1.0, 4 * MINUTE, 7.5 * MINUTE])
def test_an_extension_after_the_drain_gives_the_node_back_until_its_new_end(after):
    """Paid as late as 35 minutes before EndDate: five minutes before the instances are taken."""

    async def scene():
        async with Stage(hours=24).running() as stage:
            acts = 24 * HOUR - 40 * MINUTE
            await stage.until(acts + after)
            assert stage.slurm.standing is Drain.OURS
            stage.ec2.end += timedelta(days=1)
            await stage.until(acts + after + 130)
            assert stage.runner.state.phase is Phase.WATCHING
            assert stage.slurm.standing is Drain.NONE
            assert not stage.copier.running
            await stage.until(acts + DAY - 20)
            assert stage.runner.state.phase is Phase.WATCHING
            stage.copier.done = 0
            await stage.until(acts + DAY + 60)
            return stage

    stage = play(scene)
    assert stage.slurm.standing is Drain.OURS
    assert stage.runner.state.phase is Phase.RESTING
    assert stage.runner.state.outcome is Outcome.COMPLETE
    acts = 48 * HOUR - 40 * MINUTE - share(ME.instance_id).total_seconds()
    assert stage.entered(Phase.DRAINING) == pytest.approx(acts, abs=0.01)


def test_an_extension_that_waits_for_its_payment_lifts_nothing():
    async def scene():
        async with Stage(hours=24).running() as stage:
            await stage.until(24 * HOUR - 39 * MINUTE)
            stage.ec2.end, stage.ec2.state = stage.ec2.end + timedelta(days=1), "payment-pending"
            await stage.until(24 * HOUR - 31 * MINUTE)
            return stage

    stage = play(scene)
    assert stage.slurm.standing is Drain.OURS
    assert stage.runner.state.phase is Phase.RESTING


@pytest.mark.parametrize("sort", ["throttled", "denied", "unavailable"])
def test_p5_ec2_that_falls_silent_keeps_the_known_end_and_the_evacuation_happens(sort):
    async def scene():
        async with Stage(hours=12).running() as stage:
            await stage.until(HOUR)
            stage.ec2.refusal = (sort, "a hint")
            await stage.until(12 * HOUR - 38 * MINUTE)
            return stage

    stage = play(scene)
    assert stage.runner.state.phase is Phase.RESTING
    assert stage.slurm.standing is Drain.OURS
    known = stage.capabilities[Name.CAPACITY_BLOCK]
    assert (known.on, known.hint) == (False, "a hint")
    assert "it ends 2026-11-23T21:15:00.000Z" in known.detail


def test_ec2_that_falls_silent_after_the_drain_does_not_lift_it():
    async def scene():
        async with Stage(hours=12).running() as stage:
            await stage.until(12 * HOUR - 39 * MINUTE)
            stage.ec2.refusal = ("unavailable", "")
            await stage.until(12 * HOUR - 30 * MINUTE)
            return stage

    assert play(scene).slurm.standing is Drain.OURS


def test_request_limit_exceeded_is_left_alone_for_five_minutes_at_a_time():
    async def scene():
        async with Stage(hours=2).running() as stage:
            await stage.until(10 * MINUTE)
            stage.ec2.refusal = ("throttled", "")
            await stage.until(40 * MINUTE)
            return [at - stage.began for at in stage.ec2.asked_at if at - stage.began > 12 * MINUTE]

    asked = play(scene)
    assert 5 <= len(asked) <= 6


def test_a_wall_clock_that_jumps_neither_fires_nor_loses_the_end():
    async def scene():
        async with Stage(hours=24).running() as stage:
            await stage.until(HOUR)
            stage.clock.jump = timedelta(days=2)
            await stage.until(12 * HOUR)
            assert stage.runner.state.phase is Phase.WATCHING
            stage.clock.jump = timedelta(days=-2)
            await stage.until(24 * HOUR - 39 * MINUTE)
            return stage

    assert play(scene).slurm.standing is Drain.OURS
