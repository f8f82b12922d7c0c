"""`hpc-agent demo` as people run it: what it shows, how it ends, and that it leaves nothing behind."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

SMALL = ["--files", "150", "--megabytes", "12"]
SCENES = [
    pytest.param(["--stand-in"], marks=pytest.mark.s3, id="stand-in"),
    pytest.param([], marks=[pytest.mark.s3, pytest.mark.slurm], id="slurm"),
]
STEPS = ["Stage", "Job", "Notice", "Drain", "Copy", "Commit", "Kill", "Restore", "Compare"]


@pytest.fixture
def place():
    """A temporary directory with a short path: there will be sockets in it."""
    with tempfile.TemporaryDirectory(prefix="demo", dir="/tmp") as path:
        yield Path(path)


@contextlib.contextmanager
def demo(place, *arguments, before=()):
    """Run the demo with `place` for its temporary files."""
    environment = os.environ | {"TMPDIR": str(place), "PYTHONUNBUFFERED": "1"}
    child = subprocess.Popen(
        [*before, sys.executable, "-m", "agent", "demo", *SMALL, *arguments],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        yield child
    finally:
        child.kill()
        child.communicate()


def left_of(place):
    """Return files below `place` and processes that have to do with it, each of them a line."""
    found = [str(path) for path in place.iterdir()]
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            told = (process / "cmdline").read_bytes() + (process / "mountinfo").read_bytes()
            if os.fsencode(place) in told and process.name != str(os.getpid()):
                found.append((process / "cmdline").read_bytes().replace(b"\0", b" ").decode())
    found += [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if str(place) in line]
    return found


def wait_for(child, word):
    """Read until a line has `word`."""
    said = []
    while line := child.stdout.readline():
        said.append(line)
        if word in line:
            return
    pytest.fail(f"{word} never came: {''.join(said)}")


@pytest.mark.parametrize("scene", SCENES)
def test_the_story_ends_well_and_leaves_nothing(place, scene):
    with demo(place, *scene) as child:
        said, _ = child.communicate(timeout=110)
    assert child.returncode == 0, said
    assert re.findall(r"^ \d  (\w+)", said, re.MULTILINE) == STEPS
    assert re.search(r"^ +State=\S*DRAIN", said, re.MULTILINE)
    assert "Reason=hpc-agent: spot-terminate i-0123456789abcdef0" in said
    assert re.search(r"the checkpoint is committed", said)
    assert said.splitlines()[-1].startswith("PASS")
    assert ("STAND-IN" in said) == ("--stand-in" in scene), "what is played is said plainly"
    assert all(len(line) < 80 for line in said.splitlines()), said
    assert "\x1b" not in said, "no colours where there is no terminal"
    assert left_of(place) == []


@pytest.mark.slow
@pytest.mark.parametrize("scene", SCENES)
@pytest.mark.parametrize("step", ["played", "Notice"])
def test_an_interrupt_leaves_nothing(place, scene, step):
    with demo(place, *scene) as child:
        wait_for(child, step)
        time.sleep(0.5)  # into what comes next
        child.send_signal(signal.SIGINT)
        child.send_signal(signal.SIGINT)
        child.communicate(timeout=60)
    assert child.returncode == 130
    assert left_of(place) == []


NOBODY = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"]
# This Python may be where only root can read.
READS_ALL = ["--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search", "--bounding-set=-all,+dac_read_search"]


@pytest.mark.s3
@pytest.mark.slurm
@pytest.mark.slow
def test_an_ordinary_user_gets_the_story_with_the_stand_in(place):
    place.chmod(0o777)
    with demo(place, before=[*NOBODY, *READS_ALL]) as child:
        said, _ = child.communicate(timeout=110)
    assert child.returncode == 0, said
    assert "scontrol is a STAND-IN\n        No Slurm here: not root" in said
    assert left_of(place) == []


@pytest.mark.s3
@pytest.mark.slow
def test_a_failure_keeps_the_logs_and_nothing_else(place):
    with demo(place, "--stand-in") as child:
        wait_for(child, "Notice")
        for name in children_of(child.pid, b"agent\0run"):
            os.kill(name, signal.SIGKILL)
        said, _ = child.communicate(timeout=110)
    assert child.returncode == 1
    kept = Path(re.search(r"The logs are in (\S+)", said).group(1))
    assert (kept / "agent-n1.log").read_text()
    assert left_of(place) == [str(kept)]


def children_of(parent, words):
    """Return the children of `parent` with `words` in their command line."""
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            fields = (process / "stat").read_text().rpartition(")")[2].split()
            if int(fields[1]) == parent and words in (process / "cmdline").read_bytes():
                yield int(process.name)
