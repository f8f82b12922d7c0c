"""The control socket, over a real socket: who may ask what, and what a client can't do to it (P8)."""

import asyncio
import json
import os
import socket
import stat
import tempfile
from pathlib import Path

import pytest

from agent.daemon import control
from agent.daemon.control import Control, SocketRefused


async def status(_request):
    yield {"state": "watching"}


async def count(request):
    for number in range(request["to"]):
        yield {"number": number}


def served(path):
    return Control(path, everybody={"status": status}, root={"count": count})


async def ask(path, line, *, lines=1):
    reader, writer = await asyncio.open_unix_connection(str(path))
    writer.write(line)
    answers = [await asyncio.wait_for(reader.readline(), 10) for _ in range(lines)]
    writer.close()
    await writer.wait_closed()
    return [json.loads(answer) for answer in answers]


async def test_a_request_is_answered(tmp_path):
    path = tmp_path / "agent.sock"
    async with served(path).listening():
        assert await ask(path, b'{"op":"status"}\n') == [{"state": "watching"}]
        assert stat.S_IMODE(path.stat().st_mode) == 0o666
    assert not path.exists()


async def test_an_operation_can_answer_with_many_lines(tmp_path):
    async with served(tmp_path / "s").listening():
        answers = await ask(tmp_path / "s", b'{"op":"count","to":3}\n', lines=3)
    assert answers == [{"number": 0}, {"number": 1}, {"number": 2}]


@pytest.mark.parametrize(
    "line",
    [
        b"\n",
        b"[]\n",
        b"garbage\n",
        b'{"op":"format-disk"}\n',
        b"{}\n",
        b'{"op":' + b"9" * 100_000 + b"}\n",
        b"[" * 9999 + b"\n",
    ],
)
async def test_what_is_no_request_is_refused_with_exit_code_2(tmp_path, line):
    async with served(tmp_path / "s").listening():
        (answer,) = await ask(tmp_path / "s", line)
        assert answer["error"]["exit"] == 2
        assert await ask(tmp_path / "s", b'{"op":"status"}\n') == [{"state": "watching"}]


def connected_as_a_user(path):
    """The kernel tells the server who connected: somebody with an ordinary uid."""
    client = socket.socket(socket.AF_UNIX)
    me = os.geteuid()
    if me == 0:
        os.seteuid(4242)
    try:
        client.connect(str(path))
    finally:
        os.seteuid(me)
    client.setblocking(False)  # noqa: FBT003 - the standard library's signature
    return client


async def test_p8_a_job_user_may_ask_for_the_status_and_nothing_else():
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "s"
        path.parent.chmod(0o755)
        async with served(path).listening():
            said = []
            for line in (b'{"op":"status"}\n', b'{"op":"count","to":1}\n'):
                reader, writer = await asyncio.open_unix_connection(sock=connected_as_a_user(path))
                writer.write(line)
                said.append(json.loads(await reader.readline()))
                writer.close()
    assert said[0] == {"state": "watching"}
    assert "for root" in said[1]["error"]["message"]


async def test_p8_one_user_gets_only_so_many_connections_at_once():
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "s"
        path.parent.chmod(0o755)
        async with served(path).listening():
            many = range(control.CONNECTIONS_PER_USER)
            idle = [await asyncio.open_unix_connection(sock=connected_as_a_user(path)) for _ in many]
            await asyncio.sleep(0.05)
            reader, writer = await asyncio.open_unix_connection(sock=connected_as_a_user(path))
            assert await asyncio.wait_for(reader.read(), 5) == b""
            writer.close()
            for _, other in idle:
                other.close()
            await asyncio.sleep(0.05)
            assert await ask(path, b'{"op":"status"}\n') == [{"state": "watching"}]


def test_p8_users_who_hold_all_there_is_do_not_shut_root_out(tmp_path):
    one = served(tmp_path / "s")
    one._connected.update(dict.fromkeys(range(5000, 5008), control.CONNECTIONS_PER_USER))
    one._connected[5009] += 1
    assert not one._has_room(5009)
    one._connected[0] += 1
    assert one._has_room(0)


async def test_a_client_that_leaves_early_ends_its_operation(tmp_path):
    ended = asyncio.Event()

    async def endless(_request):
        try:
            while True:
                yield {"more": "x" * 65536}
        finally:
            ended.set()

    path = tmp_path / "s"
    async with Control(path, everybody={"endless": endless}, root={}).listening():
        reader, writer = await asyncio.open_unix_connection(str(path))
        writer.write(b'{"op":"endless"}\n')
        await reader.readexactly(10)
        writer.close()
        await asyncio.wait_for(ended.wait(), 10)


async def test_p6_a_socket_that_cannot_be_made_is_an_error_with_a_hint(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(SocketRefused) as error:
        async with served(tmp_path / "file" / "s").listening():
            pass
    assert error.value.hint


async def test_a_socket_left_by_a_dead_daemon_is_replaced(tmp_path):
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    async with served(path).listening():
        assert await ask(path, b'{"op":"status"}\n') == [{"state": "watching"}]


async def test_p8_who_asks_is_told_by_the_kernel_and_not_by_the_request(tmp_path):
    async def echo(request):
        yield {"uid": request["uid"]}

    async with Control(tmp_path / "s", everybody={"echo": echo}, root={}).listening():
        assert await ask(tmp_path / "s", b'{"op":"echo","uid":0}\n') == [{"uid": os.geteuid()}]
