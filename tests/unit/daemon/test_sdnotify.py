"""What systemd is told, over a real datagram socket."""

import os
import socket

import pytest

from agent.daemon.sdnotify import Systemd


@pytest.fixture
def inbox(tmp_path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(tmp_path / "notify"))
        listener.settimeout(0)
        yield listener


def told(inbox):
    return inbox.recv(4096).decode()


def test_each_message_is_one_assignment_of_sd_notify(inbox):
    systemd = Systemd({"NOTIFY_SOCKET": inbox.getsockname()})

    for tell, message in [
        (systemd.ready, "READY=1"),
        (systemd.stopping, "STOPPING=1"),
        (systemd.alive, "WATCHDOG=1"),
        (lambda: systemd.status("copying"), "STATUS=copying"),
        (lambda: systemd.extend(1.5), "EXTEND_TIMEOUT_USEC=1500000"),
    ]:
        tell()
        assert told(inbox) == message


def test_a_name_with_an_at_is_in_the_abstract_name_space():
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(f"\0hpc-agent-test-{os.getpid()}")
        listener.settimeout(0)

        Systemd({"NOTIFY_SOCKET": f"@hpc-agent-test-{os.getpid()}"}).ready()

        assert told(listener) == "READY=1"


def test_nothing_is_said_when_systemd_did_not_start_us():
    Systemd({}).ready()


def test_p6_a_socket_that_is_gone_stops_nothing(tmp_path):
    Systemd({"NOTIFY_SOCKET": str(tmp_path / "gone")}).alive()


def test_p6_a_systemd_that_does_not_read_never_blocks_the_loop(inbox):
    systemd = Systemd({"NOTIFY_SOCKET": inbox.getsockname()})

    for _ in range(2000):  # more than any queue of datagrams holds (net.unix.max_dgram_qlen)
        systemd.alive()

    assert told(inbox) == "WATCHDOG=1"


@pytest.mark.parametrize(
    ("environ", "seconds"),
    [
        ({"WATCHDOG_USEC": "30000000"}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({}, None),
    ],
)
def test_the_watchdog_is_ours_only_when_it_names_us(environ, seconds):
    assert Systemd(environ).watchdog_seconds == seconds
