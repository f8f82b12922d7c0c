"""What the doctor makes of Slurm's answers."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from agent.doctor.slurm import Machine, look_at_barrier, look_at_slurm, may_drain
from agent.processes import ChildTimedOut, SystemProcesses
from agent.settings import load
from agent.slurm.host import Host
from tests.fakes.doctor import Children, levels
from tests.fakes.slurm import record

CONFIG = (Path(__file__).parents[2] / "golden/slurm/22.05/config.txt").read_text()
WORKS = {"test -x": "", "show config": CONFIG, "show node": record(name="n1")}
HUNG = ChildTimedOut("run", "x", "no answer within 5 s")


async def look(tmp_path, answers=WORKS, *, uid=0, **variables):
    children = Children(answers)
    settings = load(None, {"HPC_AGENT_NODE__NAME": "n1", "HPC_AGENT_SLURM__BIN_DIR": "/opt/s/bin", **variables})
    with ThreadPoolExecutor(1) as executor:
        host = Host(processes=children, executor=executor, root=tmp_path)
        machine = Machine(processes=children, host=host, path="", host_name="h", uid=uid)
        findings = await look_at_slurm(settings, machine, instance_id="i-1")
    assert not [line for line in children.asked if "update" in line]
    return {finding.name: finding for finding in findings}


async def test_a_node_that_slurm_knows_is_green_but_for_the_barrier(tmp_path):
    findings = await look(tmp_path)
    assert levels(findings.values()) == {
        "slurm": "green",
        "slurm node": "green",
        "drain right": "green",
        "barrier": "yellow",
    }
    assert "22.05.8" in findings["slurm"].detail


async def test_a_controller_that_does_not_answer_is_red(tmp_path):
    findings = await look(tmp_path, {**WORKS, "show config": HUNG, "show node": HUNG})
    assert levels(findings.values()) == {"slurm": "red"}


@pytest.mark.parametrize(("mode", "level"), [("act", "red"), ("save-only", "yellow"), ("observe", "yellow")])
async def test_no_slurm_is_as_bad_as_the_mode_needs_it(tmp_path, mode, level):
    findings = await look(tmp_path, {}, HPC_AGENT_MODE=mode)
    assert levels(findings.values()) == {"slurm": level}


async def test_a_dead_file_system_of_slurm_is_red(tmp_path):
    findings = await look(tmp_path, {"test -x": HUNG})
    assert (findings["slurm"].level, findings["slurm"].hint) == ("red", "is its NFS server gone?")


@pytest.mark.parametrize(
    ("line", "level"),
    [
        (record("MIXED"), "green"),
        (record("IDLE+DRAIN", "broken fan"), "yellow"),
        (record("IDLE+DRAIN", "hpc-agent: spot-terminate i-1 boot=1a2b3c4d until=2026-11-23T09:17:00Z"), "green"),
        (record("DOWN*", "Not responding", by="slurm"), "red"),
        (record(name="n2"), "red"),
        ("nonsense", "red"),
    ],
)
async def test_the_state_of_our_node_is_judged(tmp_path, line, level):
    assert (await look(tmp_path, {**WORKS, "show node": line}))["slurm node"].level == level


@pytest.mark.parametrize(("uid", "level"), [(0, "green"), (64030, "green"), (1000, "unknown")])
def test_who_may_drain_is_told_without_draining(uid, level):
    assert may_drain({"SlurmUser": "slurm(64030)"}, uid).level == level


def test_a_right_that_only_the_agent_has_says_run_as_root():
    assert may_drain({}, 1000).hint == "run as root"


async def test_the_barrier_is_found_in_a_file_and_in_a_folder(tmp_path):
    folder = tmp_path / "epilog.d"
    folder.mkdir()
    (folder / "90_other").write_text("#!/bin/sh\n")
    (folder / "95_agent").write_text("#!/bin/sh\nexec hpc-agent epilog\n")
    prolog = tmp_path / "prolog"
    prolog.write_text("exec hpc-agent prolog\n")
    values = {"Epilog": f"{folder}/*", "Prolog": str(prolog)}
    assert (await look_at_barrier(values, SystemProcesses())).level == "green"
    (folder / "95_agent").unlink()
    finding = await look_at_barrier(values, SystemProcesses())
    assert (finding.level, finding.detail) == ("yellow", "no barrier: no Epilog of Slurm calls the agent")


async def test_a_barrier_that_can_not_be_looked_at_is_unknown():
    finding = await look_at_barrier({"Epilog": "/nfs/epilog"}, Children({"grep": HUNG}))
    assert finding.level == "unknown"
