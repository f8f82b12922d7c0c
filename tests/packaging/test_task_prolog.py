"""The shipped TaskProlog, run as a job's user: what it tells of this life, and of another one."""

import os
import subprocess
import tempfile
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "packaging/slurm/task_prolog.d/hpc-agent.sh"
NOBODY = 65534
JOB = "5"

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="to be another user is for root")


@pytest.fixture
def run():
    """Where the Prolog leaves what it has to say, in the place of /run/hpc-agent; any user may look."""
    with tempfile.TemporaryDirectory() as place:
        for directory in (Path(place), Path(place) / "restore", Path(place) / "lives"):
            directory.mkdir(exist_ok=True)
            directory.chmod(0o755)
        yield Path(place)


def told(run, *, life):
    script = SCRIPT.read_text().replace("/run/hpc-agent", str(run))
    environment = {"PATH": os.environ["PATH"], "SLURM_JOB_ID": JOB}
    if life:  # Slurm says nothing of the first
        environment["SLURM_RESTART_COUNT"] = str(life)
    done = subprocess.run(
        ["/bin/sh"],
        input=script,
        env=environment,
        user=NOBODY,
        group=NOBODY,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
    return done.stdout


def leave(file, text, *, mode=0o644):
    file.write_text(text)
    file.chmod(mode)


@pytest.mark.parametrize("result", ["complete", "older", "partial", "none"])
def test_a_job_is_told_what_the_prolog_of_its_life_says(run, result):
    leave(run / "lives" / JOB, "1 n1\n")
    leave(run / "restore" / JOB, f"{result}\n")
    assert told(run, life=1) == f"export HPC_AGENT_RESTORE={result}\n"


def test_p2_a_job_whose_prolog_was_left_out_is_not_told_what_was_true_of_an_earlier_life(run):
    leave(run / "restore" / JOB, "complete\n")
    assert told(run, life=2) == "export HPC_AGENT_RESTORE=none\n"
    leave(run / "lives" / JOB, "1 n1\n")
    assert told(run, life=2) == "export HPC_AGENT_RESTORE=none\n"


def test_what_the_user_may_not_read_of_its_life_tells_nothing_against_it(run):
    leave(run / "lives" / JOB, "1 n1\n", mode=0o600)
    leave(run / "restore" / JOB, "complete\n")
    assert told(run, life=1) == "export HPC_AGENT_RESTORE=complete\n"


def test_where_no_prolog_tells_lives_what_it_says_of_files_counts(run):
    (run / "lives").rmdir()
    leave(run / "restore" / JOB, "older\n")
    assert told(run, life=1) == "export HPC_AGENT_RESTORE=older\n"


def test_a_first_life_is_told_nothing(run):
    leave(run / "lives" / JOB, "0 n1\n")
    assert told(run, life=0) == ""
