import pytest

from agent.observe.counting import CountedProcesses, command
from agent.observe.metrics import SLURM_COMMANDS, SLURM_OUTCOMES
from agent.processes import ChildMissing, ChildTimedOut, SystemProcesses


@pytest.fixture
def counted():
    return []


@pytest.fixture
def processes(counted):
    return CountedProcesses(SystemProcesses(), lambda command, outcome: counted.append((command, outcome)))


async def test_a_child_that_ends_well_is_ok(processes, counted):
    assert (await processes.run(["echo", "show", "node"], seconds=5)).out == "show node\n"
    assert counted == [("show-node", "ok")]


async def test_a_child_that_fails_has_failed(processes, counted):
    assert (await processes.run(["false", "update", "State=DRAIN"], seconds=5)).code == 1
    assert counted == [("drain", "failed")]


async def test_a_child_that_can_not_start_has_failed(processes, counted):
    with pytest.raises(ChildMissing):
        await processes.run(["/no/such/scontrol", "show", "config"], seconds=5)
    assert counted == [("show-config", "failed")]


class Stuck:
    """Processes none of which ends."""

    async def run(self, argv, *, seconds, env=None):
        raise ChildTimedOut("run", " ".join(argv), f"no answer within {seconds:g} s")


async def test_a_child_that_hangs_has_timed_out(counted):
    processes = CountedProcesses(Stuck(), lambda command, outcome: counted.append((command, outcome)))
    with pytest.raises(ChildTimedOut):
        await processes.run(["scontrol", "ping"], seconds=1)
    assert counted == [("other", "timed-out")]


@pytest.mark.parametrize(
    ("argv", "name"),
    [
        (["scontrol", "show", "node", "-o", "n1"], "show-node"),
        (["scontrol", "update", "NodeName=n1", "State=DRAIN", "Reason=x"], "drain"),
        (["scontrol", "update", "NodeName=n1", "State=UNDRAIN"], "undrain"),
        (["scontrol", "requeue", "Incomplete", "7"], "requeue"),
        (["/opt/slurm/bin/squeue", "-h"], "squeue"),
        (["scancel", "--full", "7"], "scancel"),
    ],
)
def test_what_is_run_has_a_name_in_the_metrics(argv, name):
    assert command(argv) == name
    assert name in SLURM_COMMANDS


def test_every_outcome_is_one_of_the_metrics():
    assert {"ok", "failed", "timed-out"} <= set(SLURM_OUTCOMES)
