"""What Slurm calls: ends with 0 whatever happens, and says to the job what became of its files."""

from pathlib import Path

import pytest

from agent.cli import prolog
from agent.cli.main import main
from agent.cli.requeued import LONGEST, MARGIN, seconds_left

REQUEUED = {
    "SLURM_JOB_ID": "7",
    "SLURM_JOB_UID": "4242",
    "SLURM_NODELIST": "n1",
    "SLURMD_NODENAME": "n1",
    "SLURM_JOB_RESTART_COUNT": "1",
}


@pytest.fixture
def environ(monkeypatch, tmp_path):
    """The environment of a Prolog on a node whose state is below `tmp_path`."""
    monkeypatch.setattr(prolog, "ENVIRONMENT", tmp_path / "environment")
    monkeypatch.setenv("HPC_AGENT_STATE__SOCKET", str(tmp_path / "agent.sock"))
    for name in ("SLURM_JOB_ID", "SLURM_JOB_UID", "SLURM_JOB_RESTART_COUNT"):
        monkeypatch.delenv(name, raising=False)

    def set_all(**variables):
        for name, value in variables.items():
            monkeypatch.setenv(name, value)

    return set_all


def test_by_hand_it_does_nothing(environ, capsys):
    assert main(["prolog"]) == 0
    assert "SLURM_JOB_ID" in capsys.readouterr().err


def test_a_first_life_has_nothing_to_restore(environ, tmp_path, capsys):
    environ(**{**REQUEUED, "SLURM_JOB_RESTART_COUNT": "0"})
    assert main(["prolog"]) == 0
    assert capsys.readouterr().err == ""
    assert not (tmp_path / "restore").exists()


def test_p6_what_can_not_be_restored_fails_no_prolog_and_the_job_is_told(environ, tmp_path, capsys):
    environ(**REQUEUED, PATH="/nowhere", HPC_AGENT_SLURM__BIN_DIR="/nowhere")
    assert main(["prolog"]) == 0
    assert "job 7: restore none" in capsys.readouterr().err
    assert (tmp_path / "restore/7").read_text() == "none\n"
    assert (tmp_path / "restore/7").stat().st_mode & 0o777 == 0o644


def test_p8_what_users_call_their_files_ends_no_prolog_and_writes_no_line_of_its_own(monkeypatch):
    lines = []
    monkeypatch.setattr(prolog.syslog, "syslog", lambda _priority, line: lines.append(line.encode()))
    prolog.tell("set aside: \udcff\x1b[31m\nroot: all is well", 5)
    assert lines == [rb"set aside: \udcff\x1b[31m root: all is well"]


def test_p6_wrong_settings_fail_no_prolog(environ, tmp_path):
    environ(**REQUEUED, HPC_AGENT_NO_SUCH="1")
    assert main(["prolog"]) == 0
    assert (tmp_path / "restore/7").read_text() == "none\n"


def test_a_job_that_can_not_be_told_starts_all_the_same(environ, tmp_path, capsys):
    (tmp_path / "restore").write_text("a file in the way")
    environ(**REQUEUED, HPC_AGENT_JOBS__RESTORE="off")
    assert main(["prolog"]) == 0
    assert "is not told" in capsys.readouterr().err


def test_a_job_that_wants_nothing_gets_nothing_and_slurm_is_not_asked(environ, capsys):
    environ(**REQUEUED, SLURM_JOB_COMMENT="hpc-agent:restore=off", PATH="/nowhere")
    assert main(["prolog"]) == 0
    assert "not wanted" in capsys.readouterr().err


@pytest.mark.parametrize("answer", [{"result": {"counted": "none"}}, {"error": {"message": "no such op", "exit": 2}}])
def test_the_daemon_counts_what_came_back(environ, tmp_path, daemon, answer):
    daemon.answers["restored"] = [answer]
    environ(**REQUEUED, SLURM_JOB_COMMENT="hpc-agent:restore=off")
    assert main(["prolog"]) == 0
    assert daemon.asked == [{"op": "restored", "result": "none"}]
    assert (tmp_path / "restore/7").read_text() == "none\n"


def test_the_daemons_environment_is_read_as_systemd_reads_it(tmp_path):
    (tmp_path / "environment").write_text("# comment\nAWS_REGION=eu-west-1\n\n X='a b=c'\nnothing\n")
    assert prolog.environment(tmp_path / "environment") == {"AWS_REGION": "eu-west-1", "X": "a b=c"}
    assert prolog.environment(tmp_path / "none") == {}


@pytest.mark.parametrize(
    ("values", "seconds"),
    [
        ({"BatchStartTimeout": "180 sec", "PrologEpilogTimeout": "65534"}, 180 - MARGIN),
        ({"BatchStartTimeout": "180 sec", "PrologTimeout": "60 sec"}, 60 - MARGIN),
        ({"BatchStartTimeout": "2 sec"}, 1.0),
        ({}, LONGEST - MARGIN),
    ],
)
def test_a_restore_ends_before_slurm_gives_the_job_up(values, seconds):
    assert seconds_left(values) == seconds


@pytest.mark.parametrize(("written", "began"), [("0 n[1-2]\n", 0), ("", None)])
def test_an_epilog_waits_for_the_daemons_last_word(daemon, monkeypatch, written, began):
    if written:
        lives = Path(daemon.path).parent / "lives"
        lives.mkdir()
        (lives / "7").write_text(written)
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.setenv("SLURM_JOB_RESTART_COUNT", "1")
    monkeypatch.setenv("HPC_AGENT_STATE__SOCKET", daemon.path)
    daemon.answers["epilog"] = [{"waiting": "saving"}, {"result": {}}]
    assert main(["epilog"]) == 0
    assert daemon.asked == [{"op": "epilog", "job": 7, "life": 1, "began": began}]


@pytest.mark.parametrize("job", ["7", "", "x"])
def test_p6_an_epilog_without_a_daemon_or_a_job_ends_at_once(tmp_path, monkeypatch, job):
    monkeypatch.setenv("SLURM_JOB_ID", job)
    monkeypatch.setenv("HPC_AGENT_STATE__SOCKET", str(tmp_path / "none.sock"))
    assert main(["epilog"]) == 0
