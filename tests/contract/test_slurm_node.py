"""What every Slurm has to do for us, asked of a real one and of the stand-in."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from agent.clock import SystemClock
from agent.model.drain import Drain
from agent.model.node import BootId, InstanceId
from agent.slurm.errors import SlurmRefused, SlurmUnavailable
from agent.slurm.node import SlurmNode
from agent.slurm.parse import config
from agent.slurm.reason import Reason
from tests.fakes.slurm import LabBench, StandInBench

ME = {
    "instance_id": InstanceId("i-0123456789abcdef0"),
    "boot_id": BootId("1a2b3c4d-0000-4000-8000-000000000001"),
}
UNTIL = datetime(2026, 11, 23, 9, 17, tzinfo=UTC)
REASON = Reason(kind="spot-terminate", instance_id=ME["instance_id"], boot="1a2b3c4d", until=UNTIL)
PREDECESSOR = Reason(kind="spot-terminate", instance_id="i-0fedcba9876543210", boot="99999999", until=UNTIL)


@pytest.fixture(params=[pytest.param("lab", marks=pytest.mark.slurm), "stand-in"])
def bench(request, tmp_path):
    lab = request.param == "lab"
    bench = LabBench(request.getfixturevalue("cluster")) if lab else StandInBench(tmp_path)
    yield bench
    bench.tidy()


@pytest.fixture
def node(bench):
    return SlurmNode(bench.node, bench.scontrol(), SystemClock())


async def test_a_drain_stands_with_our_reason(bench, node):
    assert await node.drain(REASON) is Drain.OURS
    state = await node.read()
    assert (state.is_drained, state.reason) == (True, str(REASON))
    assert "State=IDLE+DRAIN " in bench.shown()


async def test_draining_twice_writes_once(bench, node):
    await node.drain(REASON)
    before = bench.shown()
    await asyncio.sleep(1.1)  # a second write would carry another second in its date
    assert await node.drain(REASON) is Drain.OURS
    assert bench.shown().partition("Reason=")[2] == before.partition("Reason=")[2]


async def test_a_changed_deadline_changes_the_reason(node):
    await node.drain(REASON)
    later = Reason(kind=REASON.kind, instance_id=REASON.instance_id, boot=REASON.boot, until=UNTIL + timedelta(hours=1))
    assert await node.drain(later) is Drain.OURS
    assert (await node.read()).reason == str(later)


@pytest.mark.parametrize("reason", ["disk failed a=b", "hpc-agent: mine, but by hand", "two\nlines"])
async def test_p4_an_administrators_drain_is_left_as_it_is(bench, node, reason):
    bench.administrator("State=DRAIN", f"Reason={reason}")
    before = bench.shown()
    assert await node.drain(REASON) is Drain.THEIRS
    assert await node.lift(**ME) is Drain.THEIRS
    assert bench.shown().partition("Reason=")[2] == before.partition("Reason=")[2]
    state = await node.read()
    assert (state.reason, state.reason_by) == (reason, "slurm")


async def test_p4_a_reason_that_the_administrator_wrote_over_ours_makes_the_drain_theirs(bench, node):
    await node.drain(REASON)
    bench.administrator("State=DRAIN", "Reason=keep it for me")
    assert await node.lift(**ME) is Drain.THEIRS
    assert (await node.read()).reason == "keep it for me"


async def test_our_own_drain_is_lifted(node):
    await node.drain(REASON)
    assert await node.lift(**ME) is Drain.NONE
    state = await node.read()
    assert (state.is_drained, state.reason) == (False, "")


async def test_nothing_to_lift_is_fine(node):
    assert await node.lift(**ME) is Drain.NONE


async def test_a_live_notice_keeps_our_drain(node):
    await node.drain(REASON)
    assert await node.lift(**ME, has_live_notice=True) is Drain.OURS
    assert (await node.read()).is_drained


async def test_a_dead_predecessors_drain_is_lifted(bench, node):
    bench.settle()
    await node.drain(PREDECESSOR)
    assert await node.lift(**ME) is Drain.NONE
    assert not (await node.read()).is_drained


async def test_a_dead_predecessors_drain_becomes_ours_when_we_have_a_notice_too(node):
    await node.drain(PREDECESSOR)
    assert await node.drain(REASON) is Drain.OURS
    assert (await node.read()).reason == str(REASON)


@pytest.mark.parametrize("name", ["nope", "N1"])
async def test_an_unknown_node_is_refused_and_case_counts(bench, name):
    node = SlurmNode(name, bench.scontrol(), SystemClock())
    with pytest.raises(SlurmRefused, match=f"Node {name} not found"):
        await node.drain(REASON)
    with pytest.raises(SlurmRefused, match="Invalid node name specified"):
        await bench.scontrol().update_node(name, State="DRAIN", Reason="x")


async def test_another_user_is_refused_and_told_so(bench):
    node = SlurmNode(bench.node, bench.scontrol(unprivileged=True), SystemClock())
    with pytest.raises(SlurmRefused, match=r"Invalid user id.*run as root"):
        await node.drain(REASON)
    assert "DRAIN" not in bench.shown()


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"State": "DRAIN"}, "You must specify a reason"),
        ({"State": "DRAIN", "Reason": ""}, "You must specify a reason"),
        ({"State": "bogus", "Reason": "x"}, "Invalid input: State=bogus|Invalid input: state=bogus"),
    ],
)
async def test_a_wrong_update_is_refused(bench, settings, text):
    with pytest.raises(SlurmRefused, match=text):
        await bench.scontrol().update_node(bench.node, **settings)


async def test_what_the_nodes_state_does_not_allow_now_may_be_allowed_later(bench):
    with pytest.raises(SlurmUnavailable, match="Invalid node state specified"):
        await bench.scontrol().update_node(bench.node, State="RESUME")


async def test_p6_a_dead_controller_is_unavailable_and_the_drain_succeeds_later(bench, node):
    bench.stop()
    try:
        with pytest.raises(SlurmUnavailable, match="Unable to contact slurm controller"):
            await node.drain(REASON)
    finally:
        bench.start()
    assert await node.drain(REASON) is Drain.OURS


async def test_a_lift_just_after_the_controllers_restart_believes_the_state_not_the_exit_code(bench, node):
    await node.drain(REASON)
    bench.stop()
    bench.start()
    assert await node.lift(**ME) is Drain.NONE  # 22.05 says "Invalid node state specified", and has done it
    assert not (await node.read()).is_drained


async def test_what_a_hung_controller_was_told_is_done_when_it_wakes_and_seen_then(bench, node):
    bench.freeze()
    try:
        with pytest.raises(SlurmUnavailable, match="Socket timed out"):
            await node.read()
        with pytest.raises(SlurmUnavailable, match="Socket timed out"):
            await bench.scontrol().update_node(bench.node, State="DRAIN", Reason=str(REASON))
    finally:
        bench.thaw()
    assert (await node.read()).reason == str(REASON)
    assert await node.drain(REASON) is Drain.OURS


async def test_the_configuration_can_be_read(bench):
    values = config(await bench.scontrol().show_config())
    assert values["ClusterName"]
    assert values["SlurmctldHost[0]"]
    assert values["KillWait"].endswith(" sec")
    assert values["Epilog"] == ""


async def test_host_names_are_expanded(bench):
    names = await bench.scontrol().run("show", "hostnames", "n[1-3,07],m")
    assert names.split() == ["n1", "n2", "n3", "n07", "m"]
