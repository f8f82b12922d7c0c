import io
from dataclasses import replace
from pathlib import Path

import pytest

from agent.demo.manifest import Entry
from agent.demo.narration import Narrator
from agent.demo.scene import SceneFailed
from agent.demo.telling import Size, Telling, contents, reason_of, state_of
from tests.fakes.scene import FakeScene

GOLDEN = Path(__file__).parents[2] / "golden/slurm"


@pytest.mark.parametrize("version", ["22.05/idle-drain-ours.txt", "25.11/cloud-drain-ours.txt"])
def test_state_and_reason_are_found_in_what_slurm_says(version):
    record = (GOLDEN / version).read_text()
    assert "DRAIN" in state_of(record)
    assert reason_of(record).startswith("hpc-agent: ")
    assert reason_of(record).endswith("]")


def test_a_node_without_a_drain_has_no_reason():
    assert reason_of((GOLDEN / "22.05/idle.txt").read_text()) == ""


def test_the_bytes_of_hard_links_are_counted_once():
    file = Entry(
        kind="file", mode=0o644, owner=(0, 0), mtime_ns=0, size=1000, content="", links=(b"a", b"b"), xattrs=()
    )
    tree = {b"a": file, b"b": file, b"c": replace(file, links=()), b"d": replace(file, kind="link")}
    assert contents(tree)[0] == "3 files, 2.0 kB, 0 directories, 1 symbolic links, 0 FIFO;"


PROGRESS = {
    "walked": True,
    "bytes_done": 5,
    "bytes_total": 5,
    "bytes_sent": 5,
    "files_done": 5,
    "files_total": 5,
}


def status(state="copying", *, complete=None, outcome=None):
    checkpoint = {"id": "20261123T091500.123Z-1a2b3c4d", "complete": complete, "left_files": 2, "left_bytes": 9}
    return {
        "state": state,
        "progress": PROGRESS,
        "checkpoint": None if complete is None else checkpoint,
        "outcome": outcome,
        "trouble": [{"what": "S3 does not answer"}],
    }


@pytest.fixture
def play(tmp_path):
    def play(*statuses, seconds=20, **behaviour):
        said = io.StringIO()
        scene = FakeScene(tmp_path, statuses, **behaviour)
        scene.tell = Telling(scene, Narrator(said), Size(files=5, megabytes=1, seconds=seconds)).tell
        scene.said = said.getvalue
        return scene

    return play


def test_a_story_that_ends_well_ends_with_zero(play):
    scene = play(status(), status("resting", complete=True, outcome="COMPLETE"))
    assert scene.tell() == 0
    assert scene.restored_with == ["--latest", "--node", "n1"]
    assert scene.said().splitlines()[-1].startswith("PASS")


def test_what_was_left_behind_is_told_and_the_story_ends_with_one(play):
    partial = status("resting", complete=False, outcome="PARTIAL")
    scene = play(status(), partial, keeps=lambda name: name != "file-3")
    assert scene.tell() == 1
    assert scene.restored_with == ["--latest", "--node", "n1", "--any"]
    assert "left behind: 2 files, 9 B" in scene.said()
    assert "'file-3': missing" in scene.said()
    assert scene.said().splitlines()[-1].startswith("FAIL: the outcome is PARTIAL")


def test_ec2_takes_the_node_when_its_time_has_come_whatever_the_agent_does(play):
    scene = play(status(complete=False), seconds=0.2)
    assert scene.tell() == 1
    assert scene.killed
    assert "PARTIAL, and the time is over" in scene.said()


@pytest.mark.parametrize(
    ("statuses", "word"),
    [([None], "does not answer"), ([status("resting", outcome="NOTHING")], "NOTHING: S3 does not answer")],
    ids=["an agent that dies", "an agent that saves nothing"],
)
def test_a_story_that_can_not_go_on_says_why(play, statuses, word):
    with pytest.raises(SceneFailed, match=word):
        play(*statuses).tell()


def test_a_restore_that_fails_is_not_compared(play):
    scene = play(status("resting", complete=True, outcome="COMPLETE"), restore_code=6)
    with pytest.raises(SceneFailed, match="exit code 6: what it said"):
        scene.tell()
