"""The reservation of a Capacity Block on a real cluster: kept by all nodes, obeyed by the scheduler."""

import asyncio
import contextlib
import time
from datetime import UTC, datetime, timedelta

import pytest

from agent.slurm.command import Scontrol
from agent.slurm.errors import SlurmUnavailable
from agent.slurm.reservation import BlockReservation
from tests.fakes.lab import job_state, until
from tests.fakes.slurm import InNode

pytestmark = pytest.mark.slurm

LENGTH = timedelta(minutes=30)


def in_minutes(minutes):
    return datetime.now(UTC).replace(microsecond=0) + timedelta(minutes=minutes)


def reservation_of(cluster, name, cr="cr-1"):
    return BlockReservation(cr, Scontrol(InNode(cluster, name), "scontrol"))


def shown(cluster):
    return cluster.run("head", ["scontrol", "show", "reservation", "-o"]).stdout


def submit(cluster, node, minutes):
    job = ["sbatch", "--parsable", "-w", node, "-t", str(minutes), "-D", "/shared/home", "-o", "/dev/null"]
    return cluster.run("head", [*job, "--wrap", "sleep 60"], user="alice", check=True).stdout.strip()


@pytest.fixture
def tidy(cluster):
    yield
    cluster.run("head", ["scancel", "-u", "alice", "-f"])
    for cr in ("cr-1", "cr-2"):
        cluster.run("head", ["scontrol", "delete", f"ReservationName=hpc-agent-{cr}"])
    cluster.settle()


async def test_only_jobs_that_end_before_the_nodes_are_taken_are_started(cluster, tidy):
    await reservation_of(cluster, "n1").ensure("n1", start=in_minutes(30), length=LENGTH)
    too_long, fits = submit(cluster, "n1", 60), submit(cluster, "n1", 10)
    until(lambda: job_state(cluster, fits) == "RUNNING", "the short job runs", seconds=30)
    elsewhere = submit(cluster, "n2", 60)
    until(lambda: job_state(cluster, elsewhere) == "RUNNING", "the long job runs elsewhere", seconds=30)
    assert job_state(cluster, too_long) == "PENDING"
    assert "MAINT" not in shown(cluster)


async def test_a_job_that_runs_already_does_not_hinder_it_and_is_left_alone(cluster, tidy):
    job = submit(cluster, "n1", 120)
    until(lambda: job_state(cluster, job) == "RUNNING", "the job runs", seconds=30)
    await reservation_of(cluster, "n1").ensure("n1", start=in_minutes(30), length=LENGTH)
    assert "hpc-agent-cr-1" in shown(cluster)
    assert job_state(cluster, job) == "RUNNING"


async def test_all_nodes_of_a_block_end_up_in_one_reservation_whatever_the_race(cluster, tidy):
    start = in_minutes(60)

    async def joined(name, pause):
        for _ in range(4):  # as the daemon: again and again, and after a collision not in step
            with contextlib.suppress(SlurmUnavailable):
                await reservation_of(cluster, name).ensure(name, start=start, length=LENGTH)
            await asyncio.sleep(pause)

    await asyncio.gather(*(joined(name, pause) for name, pause in zip(cluster.nodes, (0.2, 0.7, 1.5), strict=True)))
    (line,) = shown(cluster).splitlines()
    assert "Nodes=n[1-3] " in line
    found = await reservation_of(cluster, "n2").read()
    assert found.start == start


async def test_an_extension_moves_it_and_frees_the_node_at_once(cluster, tidy):
    reservation = reservation_of(cluster, "n1")
    await reservation.ensure("n1", start=in_minutes(30), length=LENGTH)
    job = submit(cluster, "n1", 60)
    await asyncio.sleep(2)
    assert job_state(cluster, job) == "PENDING"
    moved = in_minutes(24 * 60)
    await reservation.ensure("n1", start=moved, length=LENGTH)
    until(lambda: job_state(cluster, job) == "RUNNING", "the job runs", seconds=60)
    assert (await reservation.read()).start == moved


async def test_one_that_has_begun_can_still_be_moved(cluster, tidy):
    reservation = reservation_of(cluster, "n3")
    await reservation.ensure("n3", start=datetime.now(UTC) + timedelta(seconds=4), length=LENGTH)
    end = time.monotonic() + 30
    while not (await reservation.read()).is_active:
        assert time.monotonic() < end
        await asyncio.sleep(0.5)
    moved = in_minutes(60)
    await reservation.ensure("n3", start=moved, length=LENGTH)
    found = await reservation.read()
    assert (found.start, found.is_active) == (moved, False)


async def test_it_goes_with_the_block_and_going_twice_is_nothing(cluster, tidy):
    reservation = reservation_of(cluster, "n1")
    await reservation.ensure("n1", start=in_minutes(30), length=LENGTH)
    await reservation.delete()
    assert await reservation.read() is None
    await reservation_of(cluster, "n2").delete()


async def test_two_blocks_have_a_reservation_each(cluster, tidy):
    start = in_minutes(30)
    await reservation_of(cluster, "n1").ensure("n1", start=start, length=LENGTH)
    await reservation_of(cluster, "n2", "cr-2").ensure("n2", start=start, length=LENGTH)
    await reservation_of(cluster, "n1").delete()
    assert "hpc-agent-cr-2" in shown(cluster)
    assert "hpc-agent-cr-1" not in shown(cluster)
