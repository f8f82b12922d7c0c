"""The disks, the daemon and the port as the doctor finds them."""

import asyncio
import os
from types import SimpleNamespace

import pytest

from agent.cli.socket import DaemonNotRunning
from agent.doctor.daemon import look_at_cost, look_at_daemon, look_at_mode, look_at_port
from agent.doctor.scratch import look_at_scratch
from agent.settings import load

GONE = DaemonNotRunning("ask", "the daemon", "No such file", hint="systemctl status hpc-agent")


def space(*, blocks=100, free=50):
    return lambda _path: SimpleNamespace(f_blocks=blocks, f_bfree=free, f_bavail=free, f_frsize=1 << 30)


def failing(error):
    def look(_path):
        raise error

    return look


def test_a_directory_is_shown_with_its_space(tmp_path):
    finding = look_at_scratch(str(tmp_path), must_be_mounted=False, space=space())
    assert (finding.level, finding.detail) == ("green", "50.0 GiB used, 50.0 GiB free")


def test_a_full_disk_is_yellow(tmp_path):
    assert look_at_scratch(str(tmp_path), must_be_mounted=False, space=space(free=2)).level == "yellow"


def test_a_real_disk_is_read(tmp_path):
    assert "GiB free" in look_at_scratch(str(tmp_path), must_be_mounted=False).detail


def test_a_directory_where_nothing_is_mounted_is_yellow(tmp_path):
    finding = look_at_scratch(str(tmp_path), must_be_mounted=True)
    assert finding.level == "yellow"
    assert "require_mount" in finding.hint


def test_a_directory_that_is_not_there_is_yellow(tmp_path):
    assert look_at_scratch(str(tmp_path / "no"), must_be_mounted=False).level == "yellow"


def test_what_only_root_may_see_says_so_and_a_broken_disk_is_red(tmp_path):
    denied = look_at_scratch(str(tmp_path), must_be_mounted=False, space=failing(PermissionError(13, "denied")))
    assert (denied.level, denied.hint) == ("unknown", "run as root")
    broken = look_at_scratch(str(tmp_path), must_be_mounted=False, space=failing(OSError(5, os.strerror(5))))
    assert broken.level == "red"


STATUS = {
    "version": "0.1.0",
    "state": "watching",
    "capabilities": {"imds": {"on": True}, "slurm": {"on": None}},
    "trouble": [],
}


def test_a_daemon_with_nothing_to_complain_of_is_green():
    assert look_at_daemon(STATUS).level == "green"


def test_no_daemon_is_red_and_says_how_to_look():
    finding = look_at_daemon(GONE)
    assert (finding.level, finding.hint) == ("red", "systemctl status hpc-agent")


def test_what_the_daemon_complains_of_is_repeated():
    off = {**STATUS, "capabilities": {"bucket": {"on": False}}, "trouble": [{"what": "put: denied"}]}
    finding = look_at_daemon(off)
    assert finding.level == "yellow"
    assert "bucket is off; put: denied" in finding.detail


@pytest.mark.parametrize(
    ("seconds", "level"), [(30.0, "green"), (104.0, "green"), (106.0, "yellow"), (None, "unknown")]
)
def test_what_a_notice_would_cost_is_held_against_its_window(seconds, level):
    status = {**STATUS, "evacuation_estimate_seconds": seconds, "unsaved": {"bytes_per_second": 1e8}}
    assert look_at_cost(status, safety_margin=15).level == level


def test_a_rate_that_is_assumed_and_what_is_left_out_are_said():
    status = {
        **STATUS,
        "evacuation_estimate_seconds": 30.0,
        "unsaved": {"bytes_per_second": 8e7, "rate_is_measured": False},
        "container_layers": {"paths": ["/scratch/docker"], "bytes": None},
    }
    said = look_at_cost(status, safety_margin=15).detail
    assert "at 80 MB/s (assumed: none was measured yet)" in said
    assert said.endswith("container images are left out: /scratch/docker")


def test_without_a_daemon_nobody_knows_what_a_notice_would_cost():
    assert look_at_cost(GONE, safety_margin=15).level == "unknown"


@pytest.mark.parametrize(("mode", "level"), [("act", "green"), ("save-only", "green"), ("observe", "yellow")])
def test_a_mode_in_which_nothing_would_be_done_is_yellow(mode, level):
    finding = look_at_mode(load(None, {"HPC_AGENT_MODE": mode}))
    assert finding.level == level
    assert "HPC_AGENT_MODE" in finding.detail


async def port(answer, look):
    async def serve(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        return await look(server.sockets[0].getsockname()[1])


@pytest.mark.parametrize(
    ("answer", "level"),
    [
        (b"HTTP/1.1 200 OK\r\n\r\n", "green"),
        (b"HTTP/1.1 503 No\r\n\r\n", "yellow"),
        (b"SSH-2.0 hello\r\n", "yellow"),
        (b"", "yellow"),
    ],
)
async def test_the_port_is_asked(answer, level):
    async def look(number):
        return await look_at_port(f"[::]:{number}")

    assert (await port(answer, look)).level == level


async def test_a_port_where_nobody_listens_is_yellow_and_no_port_green():
    closed = await look_at_port("127.0.0.1:1")
    assert (closed.level, closed.detail) == ("yellow", "127.0.0.1:1: Connection refused")
    assert (await look_at_port("")).level == "green"
