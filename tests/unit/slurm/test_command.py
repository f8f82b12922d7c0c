import pytest

from agent.errors import TransientError
from agent.processes import ChildMissing, ChildTimedOut
from agent.slurm.command import Scontrol
from agent.slurm.errors import SlurmRefused, SlurmUnavailable
from tests.fakes.slurm import Scripted, said

MUNGE = """scontrol: error: If munged is up, restart with --num-threads=10
scontrol: error: Munge encode failed: Failed to access "/run/munge/munge.socket.2": No such file or directory
scontrol: error: slurm_send_node_msg: auth_g_create: REQUEST_NODE_INFO has authentication error
slurm_load_node error: Protocol authentication error
"""


async def ask(*answers, conf=""):
    processes = Scripted(list(answers))
    return await Scontrol(processes, "/opt/slurm/bin/scontrol", conf=conf).show_node("n1")


@pytest.mark.parametrize(
    "err",
    [
        "slurm_load_node error: Unable to contact slurm controller (connect failure)\n",
        "slurm_update error: Socket timed out on send/recv operation\n",
        "slurm_update error: Zero Bytes were transmitted or received\n",
        "slurm_update error: Invalid node state specified\n",
        "slurm_load_node error: Incompatible versions of client and server code\n",
        "scontrol: error: getaddrinfo() failed: host not found\n",
        MUNGE,
        "Segmentation fault\n",
        "",
    ],
)
async def test_p5_a_failure_that_is_not_known_as_a_refusal_is_worth_another_try(err):
    with pytest.raises(SlurmUnavailable) as caught:
        await ask(said(err=err, code=1))
    assert isinstance(caught.value, TransientError)
    assert caught.value.detail in (err.strip().splitlines() or ["exit code 1"])


@pytest.mark.parametrize(
    "answer",
    [
        said(err="slurm_update error: Invalid user id\n", code=1),
        said(err="slurm_update error: Access/permission denied\n", code=1),
        said(err="slurm_update error: Invalid node name specified\n", code=1),
        said(out="Node N1 not found\n", code=1),
        said(err="You must specify a reason when DOWNING or DRAINING a node. Request denied\n", code=1),
        said(err="Invalid input: state=bogus\nRequest aborted\nValid states are: NoResp DRAIN\n", code=1),
    ],
)
async def test_a_refusal_is_known_by_its_text(answer):
    with pytest.raises(SlurmRefused) as caught:
        await ask(answer)
    assert caught.value.detail == (answer.err + answer.out).splitlines()[0]


async def test_a_child_that_is_stuck_is_unavailable():
    with pytest.raises(SlurmUnavailable, match="no answer within 10 s"):
        await ask(ChildTimedOut("run", "scontrol", "no answer within 10 s"))


async def test_a_scontrol_that_is_away_for_now_is_unavailable():
    with pytest.raises(SlurmUnavailable, match="can /opt/slurm/bin/scontrol be run"):
        await ask(ChildMissing("run", "scontrol", "Stale file handle"))


async def test_times_are_asked_for_in_the_format_we_can_read():
    processes = Scripted([said("ok")])
    await Scontrol(processes, "scontrol", conf="/etc/slurm/slurm.conf").update_node("n1", State="DRAIN", Reason="a b")
    assert processes.calls == [["scontrol", "update", "NodeName=n1", "State=DRAIN", "Reason=a b"]]
    assert processes.envs == [{"SLURM_TIME_FORMAT": "standard", "SLURM_CONF": "/etc/slurm/slurm.conf"}]
