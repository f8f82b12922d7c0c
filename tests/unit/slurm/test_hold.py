"""What Slurm is asked so that an idle node is not taken: as salloc of 22.05 takes it."""

import pytest

from agent.chance import SeededChance
from agent.clock import SystemClock
from agent.slurm.command import Scontrol
from agent.slurm.errors import SlurmUnavailable
from agent.slurm.hold import NAME, Hold
from agent.slurm.jobs import COLUMNS, Jobs
from agent.slurm.node import SlurmNode
from agent.slurm.parse import node_state
from tests.fakes.slurm import Scripted, record, said

IDLE = record().replace("ThreadsPerCore=1", "ThreadsPerCore=1 Partitions=spot,all  BootTime=x")


def holding(*answers):
    processes = Scripted(list(answers))
    return Hold(SlurmNode("n1", Scontrol(processes, "/opt/slurm/bin/scontrol"), SystemClock())), processes


async def test_an_allocation_of_this_node_is_asked_for_and_waited_for_two_seconds():
    hold, processes = holding(said())
    await hold.begin(node_state(IDLE), minutes=3)
    ((program, *options),) = processes.calls
    assert program == "/opt/slurm/bin/salloc"
    assert {
        "--no-shell",
        "--nodelist=n1",
        "--partition=spot",
        "--time=3",
        "--immediate=2",
        f"--job-name={NAME}",
    } <= set(options)


async def test_p6_slurm_that_gives_none_says_so():
    hold, _ = holding(said(err="salloc: error: Unable to allocate resources: Connection timed out\n", code=1))
    with pytest.raises(SlurmUnavailable, match="Unable to allocate"):
        await hold.begin(node_state(IDLE), minutes=3)


async def test_only_our_own_holds_of_this_node_are_let_go():
    hold, processes = holding(said())
    await hold.end()
    assert processes.calls == [["/opt/slurm/bin/scancel", "--quiet", f"--name={NAME}", "--nodelist=n1", "--user=root"]]


@pytest.mark.parametrize(("uid", "is_job"), [("0", False), ("4242", True)])
async def test_p8_a_hold_is_nobodys_job_and_a_users_job_of_that_name_is_the_users(uid, is_job):
    shown = dict.fromkeys(COLUMNS, "1") | {"ArrayTaskID": "N/A", "State": "RUNNING", "UserID": uid}
    line = "".join(f"{shown[name]:<{width}}" for name, width in COLUMNS.items()) + "\n"
    chance = SeededChance(1)
    mark = f"|{SeededChance(1).token(32)}|"
    text = f"1{mark}(null){mark}(null){mark}{NAME}{mark}\n"
    jobs = Jobs("n1", Scontrol(Scripted([said(line), said(text)]), "scontrol"), chance)
    assert [job.name for job in await jobs.all()] == ([NAME] if is_job else [])
