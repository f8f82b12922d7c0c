import io
import os
import pty
from contextlib import suppress

from agent.cli.progress import Bar, Lines, Silence, display
from agent.model.progress import Progress


def step(done, *, walked=True, waiting=""):
    return Progress(
        files_total=10, files_done=done // 10, bytes_total=100, bytes_done=done, walked=walked, waiting=waiting
    )


def test_lines_are_sparse():
    stream = io.StringIO()
    with display("saving", quiet=False, stream=stream) as shown:
        for done in range(101):
            shown.show(step(done))
        shown.show(step(100))
    lines = stream.getvalue().splitlines()
    assert len(lines) == 11
    assert lines[0] == "saving: 0 %, 0 B of 100 B, 0 of 10 files"
    assert lines[-1] == "saving: 100 %, 100 B of 100 B, 10 of 10 files"


def test_nothing_is_counted_before_the_walk_has_ended():
    stream = io.StringIO()
    with Lines("saving", stream) as shown:
        shown.show(step(50, walked=False))
    assert stream.getvalue() == ""


def test_what_is_waited_for_is_said_once():
    stream = io.StringIO()
    with Lines("saving", stream) as shown:
        shown.show(step(0, walked=False, waiting="S3 does not answer"))
        shown.show(step(0, walked=False, waiting="S3 does not answer"))
        shown.show(step(0, walked=False))
    assert stream.getvalue() == "saving: waiting: S3 does not answer\n"


def test_beside_a_json_document_there_is_no_progress():
    assert isinstance(display("saving", quiet=True), Silence)


def test_a_terminal_gets_a_bar():
    ours, theirs = pty.openpty()
    with os.fdopen(theirs, "w") as stream:
        shown = display("saving", quiet=False, stream=stream)
        assert isinstance(shown, Bar)
        with shown:
            shown.show(step(40, walked=False))
            shown.show(step(100))
    said = b""
    with suppress(OSError):  # EIO: the other end is closed and all is read
        while piece := os.read(ours, 65536):
            said += piece
    os.close(ours)
    assert b"saving" in said
    assert b"10/10 files" in said
