import io
import logging
import os
import subprocess
import sys

import pytest

from agent.observe.logs import OneLine, reaches_journal


def record(level=logging.WARNING, text="the drain of %s failed", args=("node-1",), exc_info=None):
    return logging.makeLogRecord(
        {"name": "agent.slurm", "levelno": level, "levelname": logging.getLevelName(level), "msg": text, "args": args}
        | {"created": 1795438800.123, "exc_info": exc_info}
    )


def test_a_line_has_time_level_and_logger():
    line = OneLine(journal=False).format(record())
    assert line == "2026-11-23T13:00:00.123Z WARNING agent.slurm: the drain of node-1 failed"


@pytest.mark.parametrize(
    ("level", "priority"),
    [(logging.CRITICAL, 2), (logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6), (logging.DEBUG, 7)],
)
def test_the_journal_gets_priorities(level, priority):
    assert OneLine(journal=True).format(record(level)) == f"<{priority}>agent.slurm: the drain of node-1 failed"


def test_what_happened_is_one_line_even_with_a_traceback():
    error = ValueError("bad\n<0>forged line")
    line = OneLine(journal=True).format(record(exc_info=(ValueError, error, None)))
    assert "\n" not in line
    assert "ValueError: bad | <0>forged line" in line


def test_p8_names_of_files_drive_no_terminal_that_shows_the_log():
    assert (
        OneLine(journal=True)
        .format(record(text="read /scratch/\x1b[31m\udcff", args=()))
        .endswith(r"/scratch/\x1b[31m\udcff")
    )


def test_the_journal_is_recognised_by_the_stream_systemd_made(tmp_path):
    with (tmp_path / "stream").open("w") as stream:
        status = os.fstat(stream.fileno())
        assert reaches_journal(stream, {"JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"})
        assert not reaches_journal(stream, {"JOURNAL_STREAM": "1:2"})
        assert not reaches_journal(stream, {})
    assert not reaches_journal(io.StringIO(), {"JOURNAL_STREAM": "1:2"})


def test_setup_sends_everything_to_stderr():
    script = (
        "import logging, sys; from agent.observe.logs import setup; setup(sys.stderr, {});"
        "logging.getLogger('x').info('hello'); logging.getLogger('x').debug('quiet')"
    )
    child = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert child.stdout == ""
    assert child.stderr.endswith("INFO x: hello\n")
    assert child.stderr.count("\n") == 1
