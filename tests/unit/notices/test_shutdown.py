"""The notice of a machine that is shut down, or powered down by Slurm."""

import re
from datetime import UTC, datetime
from pathlib import Path

import pytest

from agent.errors import TransientError
from agent.model.drain import NodeState
from agent.model.notice import NoticeKind
from agent.notices.shutdown import INTERVAL, INTERVAL_WITHOUT_SLURM, STOP_TIME, ShutdownSource
from agent.slurm.errors import SlurmRefused, SlurmUnavailable

UNIT = Path(__file__).parents[3] / "systemd/hpc-agent.service"
NOW = datetime(2026, 11, 23, 9, 15, tzinfo=UTC)


class Scene:
    """Our node in Slurm, and the time."""

    def __init__(self, base="IDLE", *flags):
        self.state = NodeState(name="n1", base=base, flags=frozenset(flags))
        self.error = None
        self.wall = NOW
        self.reads = 0
        self.source = ShutdownSource(self.read, self)

    def now(self):
        return self.wall

    async def read(self):
        self.reads += 1
        if self.error:
            raise self.error
        return self.state


@pytest.mark.parametrize(
    ("base", "flags"),
    [
        ("IDLE", ()),
        ("ALLOCATED", ()),
        ("ALLOCATED", ("POWER_DOWN",)),
        ("ALLOCATED", ("POWERING_UP",)),
        ("IDLE", ("POWERING_DOWN",)),
        ("IDLE", ("POWERED_DOWN",)),
    ],
)
async def test_a_node_that_is_not_being_powered_down_with_a_job_on_it_is_no_notice(base, flags):
    assert await Scene(base, *flags).source.look() == ()


@pytest.mark.parametrize("node", [("ALLOCATED", "POWERING_DOWN"), ("IDLE", "COMPLETING", "POWERING_DOWN")])
async def test_a_node_that_slurm_powers_down_with_a_job_on_it_has_the_stop_time_from_when_that_was_seen(node):
    scene = Scene(*node)

    (first,) = await scene.source.look()
    scene.wall += STOP_TIME / 2
    (again,) = await scene.source.look()

    assert first == again
    assert (first.kind, first.ends_at) == (NoticeKind.SHUTDOWN, NOW + STOP_TIME)

    scene.state = NodeState(name="n1", base="IDLE", flags=frozenset())
    assert await scene.source.look() == ()


async def test_a_shutdown_stands_whatever_slurm_says_and_slurm_is_not_asked():
    scene = Scene()
    scene.error = SlurmUnavailable("read", "n1", "down")

    scene.source.stopping()

    (shown,) = await scene.source.look()
    assert (shown.kind, shown.ends_at, shown.source) == (NoticeKind.SHUTDOWN, NOW + STOP_TIME, "shutdown")
    assert scene.reads == 0


@pytest.mark.parametrize("error", [SlurmUnavailable, SlurmRefused])
async def test_p5_a_slurm_that_does_not_answer_is_unknown(error):
    scene = Scene("ALLOCATED", "POWERING_DOWN")
    scene.error = error("read", "n1", "no")

    with pytest.raises(TransientError):
        await scene.source.look()


async def test_where_there_is_no_slurm_there_is_nothing_to_see():
    scene = Scene()
    scene.state = None
    assert await scene.source.look() == ()


async def test_p9_a_slurm_that_was_found_after_the_start_is_asked_soon_whether_jobs_are_here_and_then_rarely():
    scene = Scene()
    scene.state = None
    await scene.source.look()
    assert scene.source.interval == INTERVAL_WITHOUT_SLURM <= 5

    scene.state = NodeState(name="n1", base="IDLE", flags=frozenset())
    await scene.source.look()
    assert scene.source.interval == INTERVAL >= 60


async def test_a_slurm_that_does_not_answer_is_asked_as_rarely():
    scene = Scene()
    scene.error = SlurmUnavailable("read", "n1", "down")
    with pytest.raises(TransientError):
        await scene.source.look()
    assert scene.source.interval == INTERVAL


def test_it_counts_on_the_stop_time_of_the_unit():
    (seconds,) = re.findall(r"^TimeoutStopSec=(\d+)s$", UNIT.read_text(), re.MULTILINE)
    assert STOP_TIME.total_seconds() == int(seconds)
