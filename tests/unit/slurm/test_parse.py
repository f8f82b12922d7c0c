from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.slurm.parse import config, config_seconds, node_state, node_states
from tests.fakes.slurm import record

GOLDEN = Path(__file__).parents[2] / "golden" / "slurm"
OURS = "hpc-agent: spot-terminate i-0123456789abcdef0 boot=1a2b3c4d until=2026-11-23T09:17:00Z"
SAMPLES = {
    "22.05/idle": ("IDLE", set(), "", ""),
    "22.05/idle-drain-ours": ("IDLE", {"DRAIN"}, OURS, "root"),
    "22.05/reason-of-lines": ("IDLE", {"DRAIN"}, "first = 1\nState=IDLE second  line", "root"),
    "22.05/comment-that-lies": ("IDLE", {"DRAIN"}, "first = 1\nState=IDLE second  line", "root"),
    "22.05/undrained-not-responding": ("IDLE", {"NOT_RESPONDING"}, "", ""),
    "22.05/lying-comment-without-reason": ("IDLE", set(), "", ""),
    "22.05/mixed-drain": ("MIXED", {"DRAIN"}, "disk [sda] broken [see #7] a=b", "root"),
    "22.05/unknown-drain": ("UNKNOWN", {"DRAIN"}, OURS, "root"),
    "25.11/cloud-drain-ours": (
        "ALLOCATED",
        {"CLOUD", "DRAIN"},
        OURS.replace("spot-terminate", "capacity-block-end").replace("09:17", "11:00"),
        "root",
    ),
}


def golden(name):
    return (GOLDEN / f"{name}.txt").read_text()


@pytest.mark.parametrize("name", SAMPLES)
def test_a_node_is_read_as_this_version_prints_it(name):
    state = node_state(golden(name))
    assert (state.base, set(state.flags), state.reason, state.reason_by) == SAMPLES[name]


def test_every_sample_of_a_node_is_read():
    samples = {str(path.relative_to(GOLDEN).with_suffix("")) for path in GOLDEN.glob("*/*.txt")}
    assert samples == {*SAMPLES, "22.05/three-nodes", "22.05/config", "22.05/jobs", "22.05/job-texts"}


def test_all_nodes_are_read():
    assert [state.name for state in node_states(golden("22.05/three-nodes"))] == ["n1", "n2", "n3"]


def test_the_instance_id_is_read_where_slurm_knows_it():
    assert node_state(golden("25.11/cloud-drain-ours")).instance_id == "i-0123456789abcdef0"
    assert node_state(golden("22.05/idle")).instance_id == ""


def test_a_node_has_registered_when_slurm_says_so():
    assert node_state(golden("22.05/mixed-drain")).is_registered
    assert not node_state(golden("22.05/unknown-drain")).is_registered
    assert not node_state(golden("22.05/undrained-not-responding")).is_registered


@pytest.mark.parametrize(
    ("printed", "base", "flags"),
    [
        ("IDLE*+DRAIN", "IDLE", {"NOT_RESPONDING", "DRAIN"}),
        ("IDLE~", "IDLE", {"POWERED_DOWN"}),
        ("MIXED#+CLOUD", "MIXED", {"POWERING_UP", "CLOUD"}),
        ("DOWN%*", "DOWN", {"POWERING_DOWN", "NOT_RESPONDING"}),
        ("IDLE+?+DRAIN", "IDLE", {"?", "DRAIN"}),
    ],
)
def test_marks_behind_the_base_state_are_flags(printed, base, flags):
    state = node_state(record(printed))
    assert (state.base, set(state.flags)) == (base, flags)


def test_a_signature_inside_a_reason_does_not_end_it():
    quoted = "was: gone [root@2026-01-01T00:00:00] since May"
    state = node_state(record("IDLE+DRAIN", quoted, by="ops"))
    assert (state.reason, state.reason_by) == (quoted, "ops")


def test_p4_a_second_line_makes_our_reason_another_one():
    state = node_state(record("IDLE+DRAIN", OURS).rstrip("\n") + " " * 8 + "now mine\n")
    assert state.reason == f"{OURS}\nnow mine"


def test_a_reason_without_a_date_is_read():
    state = node_state("NodeName=n1 X=1 State=DOWN+DRAIN Y=2 Reason=no power Comment=c\n")
    assert (state.reason, state.reason_by) == ("no power", "")


@pytest.mark.parametrize("text", ["NodeName=n1", "slurm is away", "State=IDLE", "NodeName= State=IDLE"])
def test_what_is_no_node_is_refused(text):
    with pytest.raises(ValueError, match="not a node record"):
        node_state(text)


def test_an_answer_without_any_node_yields_none():
    assert list(node_states("Node nope not found\n")) == []


@given(st.text(alphabet=st.characters(blacklist_characters="\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029"), min_size=1))
def test_any_reason_of_one_line_is_read_back_or_is_at_least_not_ours(text):
    state = node_state(record("IDLE+DRAIN", text))
    assert state.base == "IDLE"
    assert state.is_drained
    assert not state.reason.startswith("hpc-agent: ") or text.startswith("hpc-agent: ")


def test_the_configuration_is_read():
    values = config(golden("22.05/config"))
    assert values["ClusterName"] == "lab"
    assert values["SlurmctldHost[0]"] == "head(10.99.0.1)"
    assert values["Epilog"] == ""
    assert values["SchedulerParameters"] == "batch_sched_delay=0,sched_interval=1,bf_interval=1"
    assert config_seconds(values["KillWait"]) == 5
    assert config_seconds(values["PrologEpilogTimeout"]) is None


def test_a_time_that_is_not_set_is_none():
    assert [config_seconds(text) for text in ("INFINITE", "UNLIMITED", "", "0 sec")] == [None, None, None, 0]
