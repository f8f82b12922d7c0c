from datetime import UTC, datetime

import pytest

from agent.model.drain import Drain
from agent.model.node import BootId, InstanceId
from agent.processes import ChildTimedOut
from agent.slurm.command import Scontrol
from agent.slurm.errors import SlurmRefused, SlurmUnavailable
from agent.slurm.node import SlurmNode
from agent.slurm.reason import Reason
from tests.fakes.slurm import Scripted, record, said

UNTIL = datetime(2026, 11, 23, 9, 17, tzinfo=UTC)
REASON = Reason(kind="spot-terminate", instance_id="i-0123456789abcdef0", boot="1a2b3c4d", until=UNTIL)
PREDECESSOR = Reason(kind="spot-terminate", instance_id="i-0fedcba9876543210", boot="99999999", until=UNTIL)
ME = {"instance_id": InstanceId("i-0123456789abcdef0"), "boot_id": BootId("1a2b3c4d-0000-4000-8000-000000000001")}
HUNG = ChildTimedOut("run", "scontrol", "no answer within 10 s")
FREE, OURS = said(record()), said(record("IDLE+DRAIN", str(REASON)))
THEIRS = said(record("IDLE+DRAIN", "disk failed"))
REFUSED = said(err="slurm_update error: Invalid user id\n", code=1)
STATE_NOT_NOW = said(err="slurm_update error: Invalid node state specified\n", code=1)
DONE = said()


class FixedClock:
    def now(self):
        return UNTIL


def slurm(*answers):
    processes = Scripted(list(answers))
    return SlurmNode("n1", Scontrol(processes, "scontrol"), FixedClock()), processes


def verbs(processes):
    return [call[1] for call in processes.calls]


async def test_p1_the_first_child_of_a_drain_is_the_read():
    node, processes = slurm(FREE, DONE, OURS)
    assert await node.drain(REASON) is Drain.OURS
    assert verbs(processes) == ["show", "update", "show"]
    assert processes.calls[1][2:] == ["NodeName=n1", "State=DRAIN", f"Reason={REASON}"]


async def test_p4_someone_elses_drain_is_only_read():
    node, processes = slurm(THEIRS)
    assert await node.drain(REASON) is Drain.THEIRS
    assert verbs(processes) == ["show"]


async def test_p4_a_drain_without_a_reason_is_someone_elses():
    node, processes = slurm(said(record("DOWN+DRAIN")))
    assert await node.drain(REASON) is Drain.THEIRS
    assert verbs(processes) == ["show"]


async def test_p4_a_node_that_a_person_set_down_keeps_its_reason():
    node, processes = slurm(said(record("DOWN", "fan is broken", by="root")))
    assert await node.drain(REASON) is Drain.THEIRS
    assert verbs(processes) == ["show"]


async def test_a_node_that_slurm_itself_set_down_is_drained_it_may_come_back():
    node, _ = slurm(said(record("DOWN*", "Not responding", by="slurm")), DONE, said(record("DOWN+DRAIN", str(REASON))))
    assert await node.drain(REASON) is Drain.OURS


async def test_a_lost_race_is_reported_as_theirs():
    node, _ = slurm(FREE, DONE, THEIRS)
    assert await node.drain(REASON) is Drain.THEIRS


@pytest.mark.parametrize("failure", [HUNG, STATE_NOT_NOW, REFUSED])
async def test_the_exit_code_is_not_the_truth_the_state_read_back_is(failure):
    node, _ = slurm(FREE, failure, OURS)
    assert await node.drain(REASON) is Drain.OURS


async def test_a_success_that_drained_nothing_is_none():
    node, _ = slurm(FREE, DONE, FREE)
    with pytest.raises(SlurmUnavailable, match="not drained after all"):
        await node.drain(REASON)


async def test_a_failed_write_is_told_when_the_node_is_not_drained():
    node, _ = slurm(FREE, REFUSED, FREE)
    with pytest.raises(SlurmRefused, match="Invalid user id"):
        await node.drain(REASON)


async def test_an_older_reason_that_stands_after_the_write_is_not_taken_for_the_new_one():
    node, _ = slurm(said(record("IDLE+DRAIN", str(PREDECESSOR))), DONE, said(record("IDLE+DRAIN", str(PREDECESSOR))))
    with pytest.raises(SlurmUnavailable, match="an older reason still stands"):
        await node.drain(REASON)


async def test_p5_no_answer_to_the_read_back_is_not_a_drain():
    node, _ = slurm(FREE, DONE, HUNG)
    with pytest.raises(SlurmUnavailable):
        await node.drain(REASON)


@pytest.mark.parametrize("answer", ["", "garbage\n", "NodeName=n1 without a state\n", record(name="n11")])
async def test_p5_an_answer_that_says_nothing_of_our_node_says_nothing(answer):
    node, processes = slurm(said(answer))
    with pytest.raises(SlurmUnavailable):
        await node.drain(REASON)
    assert verbs(processes) == ["show"]


async def test_p4_a_predecessors_drain_waits_until_slurmd_has_registered():
    node, processes = slurm(said(record("IDLE*+DRAIN", str(PREDECESSOR))))
    with pytest.raises(SlurmUnavailable, match="slurmd has not registered yet"):
        await node.lift(**ME)
    assert verbs(processes) == ["show"]


async def test_our_own_drain_does_not_wait_for_a_registration():
    node, _ = slurm(said(record("IDLE*+DRAIN", str(REASON))), DONE, FREE)
    assert await node.lift(**ME) is Drain.NONE


async def test_p4_a_lift_uses_undrain_and_nothing_else():
    node, processes = slurm(OURS, DONE, FREE)
    assert await node.lift(**ME) is Drain.NONE
    assert processes.calls[1] == ["scontrol", "update", "NodeName=n1", "State=UNDRAIN"]


async def test_p4_a_drain_that_came_while_we_lifted_is_theirs():
    node, _ = slurm(OURS, DONE, THEIRS)
    assert await node.lift(**ME) is Drain.THEIRS


async def test_a_lift_that_failed_is_told():
    node, _ = slurm(OURS, HUNG, OURS)
    with pytest.raises(SlurmUnavailable, match="no answer"):
        await node.lift(**ME)
    node, _ = slurm(OURS, DONE, OURS)
    with pytest.raises(SlurmUnavailable, match="still drained"):
        await node.lift(**ME)


async def test_our_drain_is_kept_while_nobody_knows_of_notices():
    node, processes = slurm(OURS)
    assert await node.lift(**ME, has_live_notice=None) is Drain.OURS
    assert verbs(processes) == ["show"]


@pytest.mark.parametrize("name", ["", "n[1-3]", "n1,n2", "ALL", "n1 State=DOWN", "-n"])
def test_p4_a_name_that_scontrol_takes_for_several_nodes_is_refused(name):
    with pytest.raises(SlurmRefused, match="not the name of one node"):
        SlurmNode(name, Scontrol(Scripted([]), "scontrol"), FixedClock())
