import json
import signal
import socket
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

GOLDEN = Path(__file__).parents[2] / "golden"
SAVED = {
    "checkpoint": "20261123T091500.123Z-1a2b3c4d",
    "n": 1,
    "key": "checkpoints/c/n/w/20261123T091500.123Z-1a2b3c4d.1.json",
    "digest": "ab",
    "complete": True,
    "created_at": "2026-11-23T09:15:15.000Z",
    "totals": {"files": 3, "bytes": 3072, "directories": 1, "symlinks": 0, "skipped": 0, "torn": 0},
    "left": {"files": 0, "bytes": 0, "paths": []},
}
PROGRESS = {
    "files_total": 3,
    "files_done": 3,
    "bytes_total": 3072,
    "bytes_done": 3072,
    "bytes_sent": 3072,
    "walked": True,
    "waiting": "",
}


@pytest.fixture
def status(daemon):
    document = json.loads((GOLDEN / "status.json").read_text())
    daemon.answers["status"] = [document]
    return document


@pytest.mark.parametrize(
    "arguments", [[], ["fly"], ["status", "--fast"], ["status", "--js"], ["checkpoint", "--standalone"], ["--config"]]
)
def test_a_command_that_is_not_one_exits_2(command, arguments):
    assert command(*arguments).returncode == 2


def test_help_lists_every_command_but_the_hidden_one(command):
    done = command("--help")
    assert done.returncode == 0
    assert "status" in done.stdout
    assert "copier" not in done.stdout


def test_status_without_a_daemon_exits_3_with_a_hint(command):
    done = command("status")
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr.startswith("hpc-agent: ask the daemon at ")
    assert done.stderr.endswith("(it is not running: systemctl status hpc-agent)\n")
    assert done.stderr.count("\n") == 1


def test_status_is_text_for_people(command, daemon, status):
    done = command("status")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("COPYING  1 min 33 s left\n")


def test_status_as_json_is_the_document(command, daemon, status):
    done = command("status", "--json")
    assert done.returncode == 0
    assert json.loads(done.stdout) == status


def test_status_works_beside_settings_that_do_not(command, daemon, status):
    assert command("status", HPC_AGENT_NONSENSE="1").returncode == 0


def test_status_imports_the_standard_library_only(command, daemon, status):
    probe = (
        "import sys; before = set(sys.modules); from agent.cli.main import main; main(['status']);"
        "print(*(set(sys.modules) - before))"
    )
    done = command(program=[sys.executable, "-c", probe])
    loaded = {name.partition(".")[0] for name in done.stdout.splitlines()[-1].split()}
    assert {"agent", "argparse"} <= loaded
    assert loaded - sys.stdlib_module_names == {"agent"}
    assert not loaded & {"asyncio", "dataclasses", "subprocess"}


def test_a_reader_that_goes_away_is_no_crash(command, daemon, status):
    done = command(program=["sh", "-c", f"{sys.executable} -m agent status --json | true"])
    assert done.stderr == ""


def test_wrong_settings_end_with_one_line_and_exit_2(command, tmp_path):
    file = tmp_path / "config.toml"
    file.write_text("[s3]\nbukket = 'b'\n")
    done = command("config", "--config", str(file))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        f"hpc-agent: setting s3.bukket in {file}: there is no such setting (did you mean s3.bucket?)\n"
    )


def test_config_says_where_each_value_came_from(command, tmp_path):
    file = tmp_path / "config.toml"
    file.write_text('mode = "observe"\n')
    done = command("config", "--config", str(file), HPC_AGENT_S3__PART_SIZE="16MiB")
    lines = {line.split(" = ")[0]: line.split(" = ")[1] for line in done.stdout.splitlines()}
    assert done.returncode == 0
    assert lines["mode"].split("  # ")[1] == f"file:{file}"
    assert [part.strip() for part in lines["s3.part_size"].split("#")] == ['"16MiB"', "HPC_AGENT_S3__PART_SIZE"]
    assert [part.strip() for part in lines["imds.poll_interval"].split("#")] == ['"1s"', "default"]


def test_config_as_json_masks_secrets(command, tmp_path):
    (tmp_path / "config.toml").touch()
    done = command(
        "config",
        "--json",
        "--config",
        str(tmp_path / "config.toml"),
        AWS_ENDPOINT_URL_S3="https://me:secret@s3.example:1",
    )
    told = json.loads(done.stdout)
    assert told["schema"] == 1
    assert told["settings"]["aws.s3_endpoint"] == {"value": "https://***@s3.example:1", "from": "AWS_ENDPOINT_URL_S3"}
    assert told["settings"]["s3.connections"] == {"value": 16, "from": "default"}


def test_a_checkpoint_by_the_daemon_shows_progress_and_its_result(command, daemon):
    daemon.answers["checkpoint"] = [{"progress": PROGRESS}, {"result": SAVED}]
    done = command("checkpoint")
    assert done.returncode == 0
    assert done.stdout.startswith("20261123T091500.123Z-1a2b3c4d  COMPLETE  3 files, 3.0 KiB, ")
    assert done.stderr == "saving: 100 %, 3.0 KiB of 3.0 KiB, 3 of 3 files\n"


def test_a_checkpoint_as_json_prints_only_the_document(command, daemon):
    daemon.answers["checkpoint"] = [{"progress": PROGRESS}, {"result": SAVED}]
    done = command("checkpoint", "--json")
    told = json.loads(done.stdout)
    assert (done.returncode, done.stderr) == (0, "")
    assert told["seconds"] >= 0
    assert {name: told[name] for name in ("schema", "checkpoint_id", "outcome", "files", "bytes")} == {
        "schema": 1,
        "checkpoint_id": "20261123T091500.123Z-1a2b3c4d",
        "outcome": "COMPLETE",
        "files": 3,
        "bytes": 3072,
    }


def test_a_partial_checkpoint_exits_4(command, daemon):
    left = {"files": 2, "bytes": 2048, "paths": ["/scratch/a"], "seen": 7000}
    daemon.answers["checkpoint"] = [{"result": SAVED | {"complete": False, "left": left, "trouble": ["read a: gone"]}}]
    done = command("checkpoint")
    assert done.returncode == 4
    assert "PARTIAL" in done.stdout
    assert done.stderr.splitlines() == [
        "hpc-agent: read a: gone",
        "hpc-agent: left behind: 2 files, 2.0 KiB",
        "hpc-agent: the walk did not finish: 7,000 files seen so far",
    ]


def test_a_checkpoint_that_is_refused_says_why(command, daemon):
    daemon.answers["checkpoint"] = [{"error": {"message": "no bucket is set", "hint": "set s3.bucket", "exit": 1}}]
    done = command("checkpoint", "--json")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "hpc-agent: ask the daemon: no bucket is set (set s3.bucket)\n"


def test_evacuate_sends_its_deadline_in_utc(command, daemon):
    daemon.answers["evacuate"] = [{"result": {"deadline": "2026-11-23T09:15:00.000Z"}}]
    assert command("evacuate", "--deadline", "2026-11-23T10:15:00+01:00").returncode == 0
    assert daemon.asked == [{"op": "evacuate", "deadline": "2026-11-23T09:15:00.000Z"}]


def test_evacuate_without_a_deadline_means_now(command, daemon):
    daemon.answers["evacuate"] = [{"result": {"deadline": "2026-11-23T09:15:00.000Z"}}]
    assert command("evacuate").returncode == 0
    assert daemon.asked == [{"op": "evacuate", "deadline": None}]


@pytest.mark.parametrize("text", ["soon", "2026-11-23T09:15:00", "10"])
def test_a_deadline_that_is_no_time_exits_2(command, daemon, text):
    done = command("evacuate", "--deadline", text)
    assert done.returncode == 2
    assert "expected a time with its zone" in done.stderr
    assert daemon.asked == []


def test_cancel_is_asked_of_the_daemon(command, daemon):
    daemon.answers["cancel"] = [{"error": {"message": "do cancel: this is for root", "hint": "use sudo", "exit": 1}}]
    done = command("cancel")
    assert done.returncode == 1
    assert done.stderr == "hpc-agent: ask the daemon: do cancel: this is for root (use sudo)\n"


@pytest.mark.parametrize(("stood", "said"), [(True, "is withdrawn"), (False, "there was no notice")])
def test_cancel_says_whether_there_was_something_to_cancel(command, daemon, stood, said):
    daemon.answers["cancel"] = [{"result": {"cancelled": stood}}]
    done = command("cancel")
    assert done.returncode == 0
    assert said in done.stderr


def test_the_documents_name_every_field_of_the_status():
    told = (GOLDEN.parents[1] / "docs" / "interfaces.md").read_text()
    document = json.loads((GOLDEN / "status.json").read_text())
    nested = [document[name] for name in ("node", "notice", "checkpoint", "progress", "plan")]
    names = {name for one in (document, *nested) for name in one} | set(document["capabilities"])
    assert {name for name in names if f"`{name}`" not in told} == set()


def test_an_interrupted_command_exits_130_without_a_word(environ, tmp_path):
    with closing(socket.socket(socket.AF_UNIX)) as mute:
        mute.bind(environ["HPC_AGENT_STATE__SOCKET"])
        mute.listen(1)
        mute.settimeout(10)
        # A shell that runs the tests in its background has them, and so the child, ignore SIGINT.
        command = ["env", "--default-signal=INT", sys.executable, "-m", "agent", "checkpoint"]
        child = subprocess.Popen(command, env=environ, cwd=GOLDEN.parents[1], stderr=subprocess.PIPE)
        connection, _ = mute.accept()
        with closing(connection):
            child.send_signal(signal.SIGINT)
            _, said = child.communicate(timeout=10)
    assert (child.returncode, said) == (130, b"")
