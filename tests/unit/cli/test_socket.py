import socket as sockets
import threading
from contextlib import closing

import pytest

from agent.cli import socket
from agent.cli.socket import DaemonIncomplete, DaemonNotRunning, DaemonRefused, DaemonSilent
from agent.errors import IntegrityMismatch, NotFound, SettingsInvalid


def test_one_question_has_one_answer(daemon):
    daemon.answers["status"] = [{"state": "watching"}]
    assert socket.ask(daemon.path, {"op": "status"}) == {"state": "watching"}
    assert daemon.asked == [{"op": "status"}]


def test_answers_are_followed_until_the_asker_has_enough(daemon):
    daemon.answers["checkpoint"] = [{"progress": {}}, {"result": {}}]
    answers = socket.follow(daemon.path, {"op": "checkpoint"}, seconds=5)
    assert [next(answers), next(answers)] == [{"progress": {}}, {"result": {}}]


def test_a_daemon_that_does_not_run_is_not_running(tmp_path):
    with pytest.raises(DaemonNotRunning, match=r"No such file.*systemctl status hpc-agent"):
        socket.ask(str(tmp_path / "none.sock"), {"op": "status"})


def test_a_socket_that_a_dead_daemon_left_behind_is_not_a_daemon(tmp_path):
    path = tmp_path / "agent.sock"
    with closing(sockets.socket(sockets.AF_UNIX)) as left:
        left.bind(str(path))
    with pytest.raises(DaemonNotRunning, match="Connection refused"):
        socket.ask(str(path), {"op": "status"})


def test_a_daemon_that_ends_meanwhile_is_not_running(daemon):
    with pytest.raises(DaemonNotRunning, match="closed the connection"):
        socket.ask(daemon.path, {"op": "status"})


def test_a_daemon_that_hangs_is_given_up(tmp_path):
    path = str(tmp_path / "agent.sock")
    with closing(sockets.socket(sockets.AF_UNIX)) as mute:
        mute.bind(path)
        mute.listen(1)
        with pytest.raises(DaemonSilent, match=r"no answer within 0\.05 s"):
            socket.ask(path, {"op": "status"}, seconds=0.05)


@pytest.fixture
def crowded(tmp_path):
    """A socket with one who waits already: there is no room for another."""
    with closing(sockets.socket(sockets.AF_UNIX)) as busy, closing(sockets.socket(sockets.AF_UNIX)) as first:
        busy.bind(str(tmp_path / "agent.sock"))
        busy.listen(0)
        first.connect(str(tmp_path / "agent.sock"))
        yield busy


def test_p8_a_daemon_that_many_ask_is_busy_and_not_gone(crowded):
    with pytest.raises(DaemonSilent, match="too many wait"):
        socket.ask(crowded.getsockname(), {"op": "status"}, seconds=0.05)


def test_p8_who_asks_last_waits_in_line(crowded):
    def serve():
        crowded.accept()[0].close()  # who came first leaves without a word
        with closing(crowded.accept()[0]) as connection:
            assert connection.recv(100)
            connection.sendall(b'{"state":"watching"}\n')

    later = threading.Timer(0.1, serve)
    later.start()
    assert socket.ask(crowded.getsockname(), {"op": "status"}) == {"state": "watching"}
    later.join()


@pytest.mark.parametrize("line", [b"<html>\n", b"[1]\n", b"\xff\n"])
def test_an_answer_that_is_no_json_object_is_an_error(daemon, line):
    daemon.answers["status"] = [line]
    with pytest.raises(DaemonSilent, match="its answer is no JSON"):
        socket.ask(daemon.path, {"op": "status"})


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (1, DaemonRefused),
        (2, SettingsInvalid),
        (4, DaemonIncomplete),
        (5, NotFound),
        (6, IntegrityMismatch),
        (None, DaemonRefused),
    ],
)
def test_what_the_daemon_refuses_keeps_its_exit_code(daemon, code, kind):
    daemon.answers["cancel"] = [{"error": {"message": "do cancel: no", "hint": "use sudo", "exit": code}}]
    with pytest.raises(kind, match=r"do cancel: no \(use sudo\)") as caught:
        socket.ask(daemon.path, {"op": "cancel"})
    assert caught.value.exit_code == (code or 1)


@pytest.mark.parametrize(
    ("content", "environ", "found"),
    [
        ("", {}, socket.SOCKET),
        ("[state]\nsocket = '/a.sock'", {}, "/a.sock"),
        ("[state]\nsocket = '/a.sock'", {"HPC_AGENT_STATE__SOCKET": "/b.sock"}, "/b.sock"),
        ("[state]\nsocket = 5", {}, socket.SOCKET),
        ("state = 5", {}, socket.SOCKET),
        ("[s3]\nwrong = 'key'\n[state]\nsocket = '/a.sock'", {}, "/a.sock"),
    ],
)
def test_the_socket_is_where_the_settings_say(tmp_path, content, environ, found):
    file = tmp_path / "config.toml"
    file.write_text(content)
    assert socket.place(file, environ) == found


def test_a_settings_file_that_was_asked_for_has_to_be_readable(tmp_path):
    with pytest.raises(SettingsInvalid, match="No such file"):
        socket.place(tmp_path / "none.toml", {})
