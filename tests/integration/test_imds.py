"""The client against a real wire: the embedded IMDS on 127.0.0.1, and servers that misbehave below HTTP."""

import asyncio
import socket
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest

from agent.clock import SystemClock
from agent.demo.imds import EmbeddedImds, Fault
from agent.errors import SettingsInvalid
from agent.imds.client import Imds
from agent.imds.documents import INSTANCE_ACTION, instance_action
from agent.imds.identity import identify
from agent.imds.unavailable import ImdsUnavailable, Reason

ID = "meta-data/instance-id"


@asynccontextmanager
async def served(host="127.0.0.1"):
    server = EmbeddedImds()
    await server.start(host)
    try:
        yield server
    finally:
        await server.stop()


@asynccontextmanager
async def pair(**more):
    async with served() as server, Imds(endpoint=server.endpoint, clock=SystemClock(), **more) as imds:
        yield server, imds


@asynccontextmanager
async def listener(handler):
    """A raw TCP server; yields its endpoint."""
    server = await asyncio.start_server(handler, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()


def replying(text):
    async def reply(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(text)
        await writer.drain()
        writer.close()

    return reply


async def reason_of(question):
    with pytest.raises(ImdsUnavailable) as caught:
        await question
    assert caught.value.hint
    assert caught.value.detail
    return caught.value.reason


def puts(server):
    return [asked for asked in server.log if asked.method == "PUT"]


async def test_what_is_there_comes_back_and_what_is_not_is_none():
    async with pair() as (_, imds):
        assert await imds.get(ID) == b"i-0123456789abcdef0"
        assert await imds.get(INSTANCE_ACTION) is None
        assert imds.requests["found"] == imds.requests["absent"] == 1
        assert imds.last_success is not None


async def test_identity_comes_from_the_real_documents():
    async with pair() as (_, imds):
        identity = await identify(imds)
    assert (identity.instance_type, identity.zone, identity.life_cycle) == ("c7gd.large", "us-west-2b", "spot")


async def test_every_outcome_is_counted_from_zero():
    async with Imds(clock=SystemClock()) as imds:
        assert dict(imds.requests) == dict.fromkeys(["found", "absent", *map(str, Reason)], 0)
        assert imds.last_success is None
        assert imds.skew is None


async def test_one_token_and_one_connection_serve_many_tasks():
    connections = set()

    async def count(reader, writer):
        connections.add(writer.get_extra_info("peername"))
        inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", port)
        await asyncio.wait(
            [
                asyncio.create_task(pump(reader, inner_writer)),
                asyncio.create_task(pump(inner_reader, writer)),
            ]
        )

    async def pump(source, sink):
        while data := await source.read(4096):
            sink.write(data)
        sink.close()

    async with served() as server:
        port = int(server.endpoint.rpartition(":")[2])
        async with listener(count) as endpoint, Imds(endpoint=endpoint, clock=SystemClock()) as imds:
            answers = await asyncio.gather(*(imds.get(ID) for _ in range(20)))
        assert set(answers) == {b"i-0123456789abcdef0"}
        assert len(puts(server)) == 1
        assert len(connections) == 1


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="this kernel has no IPv6")
async def test_an_ipv6_endpoint_works():
    async with served("::1") as server, Imds(endpoint=server.endpoint, clock=SystemClock()) as imds:
        assert "[::1]" in server.endpoint
        assert await imds.get(ID) is not None


async def test_a_slash_at_the_end_of_the_endpoint_is_no_harm():
    async with served() as server, Imds(endpoint=server.endpoint + "/", clock=SystemClock()) as imds:
        assert await imds.get(ID) is not None


@pytest.mark.parametrize(
    "endpoint", ["", "169.254.169.254", "ftp://169.254.169.254", "http://", "http://h:port", "http://[x"]
)
def test_an_endpoint_that_is_none_is_a_wrong_setting(endpoint):
    with pytest.raises(SettingsInvalid, match="AWS_EC2_METADATA_SERVICE_ENDPOINT"):
        Imds(endpoint=endpoint, clock=SystemClock())


async def test_a_proxy_of_the_environment_is_not_used(monkeypatch):
    # The environment is the outside world here: aiohttp would read it itself.
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    async with pair() as (_, imds):
        assert await imds.get(ID) is not None


async def test_a_token_that_imds_has_forgotten_costs_one_new_token_and_one_retry():
    async with pair() as (server, imds):
        await imds.get(ID)
        server.forget_tokens()
        assert await imds.get(ID) is not None
        assert [(asked.method, asked.status) for asked in server.log] == [
            ("PUT", 200), ("GET", 200), ("GET", 401), ("PUT", 200), ("GET", 200),
        ]  # fmt: skip
        assert imds.requests["unauthorized"] == 0


async def test_a_token_is_renewed_before_it_expires():
    async with pair(token_seconds=1) as (server, imds):
        until = asyncio.get_running_loop().time() + 2.5
        while asyncio.get_running_loop().time() < until:
            await imds.get(ID)
            await asyncio.sleep(0.02)
        assert len(puts(server)) in {3, 4}
        assert {asked.status for asked in server.log} == {200}, "no token was ever used past its end"


async def test_the_token_life_that_imds_grants_counts_not_the_one_we_asked_for():
    async def grant(reader, writer):
        while head := await reader.readuntil(b"\r\n\r\n"):
            asked.append(head.split()[0])
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nX-aws-ec2-metadata-token-ttl-seconds: 0\r\n\r\nabc")

    asked = []
    async with listener(grant) as endpoint, Imds(endpoint=endpoint, clock=SystemClock()) as imds:
        await imds.get(ID)
        await imds.get(ID)
    assert asked == [b"PUT", b"GET", b"PUT", b"GET"]


FAULTS = {
    Fault.UNAUTHORIZED: Reason.UNAUTHORIZED,
    Fault.FORBIDDEN: Reason.FORBIDDEN,
    Fault.THROTTLED: Reason.THROTTLED,
    Fault.ERROR: Reason.SERVER_ERROR,
    Fault.UNAVAILABLE: Reason.SERVER_ERROR,
    Fault.HANG: Reason.TIMEOUT,
    Fault.GARBAGE: Reason.GARBAGE,
    Fault.TRUNCATED: Reason.GARBAGE,
    Fault.CUT: Reason.BROKEN,
    Fault.REFUSE: Reason.REFUSED,
}


@pytest.mark.parametrize("with_token", [False, True])
@pytest.mark.parametrize("notice", [False, True])
@pytest.mark.parametrize("fault", Fault)
async def test_p5_each_fault_has_its_reason_and_is_over_when_imds_is_well(fault, notice, with_token):
    async with pair(seconds=0.2 if fault is Fault.HANG else 2.0) as (server, imds):
        if with_token:
            await imds.get(ID)
        if notice:
            server.interrupt()
        await server.fault(fault)
        for _ in range(3):
            assert await reason_of(imds.read(INSTANCE_ACTION, instance_action)) is FAULTS[fault]
        assert imds.requests[FAULTS[fault]] == 3
        assert sum(imds.requests.values()) == 3 + with_token
        await server.fault(None)
        found = await imds.read(INSTANCE_ACTION, instance_action)
        assert (found is not None) is notice


async def test_an_address_where_nobody_listens_is_told_in_the_words_of_the_system():
    async with pair() as (server, imds):
        await server.fault(Fault.REFUSE)
        with pytest.raises(ImdsUnavailable) as caught:
            await imds.get(ID)
        assert caught.value.detail == f"{server.endpoint.removeprefix('http://')}: Connection refused"


async def test_401_for_ever_asks_for_one_new_token_per_question():
    async with pair() as (server, imds):
        await server.fault(Fault.UNAUTHORIZED)
        await reason_of(imds.get(ID))
        assert [asked.method for asked in server.log] == ["PUT", "GET", "PUT", "GET"]


async def test_a_hanging_imds_takes_no_longer_than_the_limit():
    async with pair(seconds=0.3) as (server, imds):
        await server.fault(Fault.HANG)
        begun = asyncio.get_running_loop().time()
        assert await reason_of(imds.get(ID)) is Reason.TIMEOUT
        assert asyncio.get_running_loop().time() - begun < 0.6


async def test_an_urgent_question_waits_for_one_hanging_question_at_most():
    async with pair(seconds=0.4) as (server, imds):
        await imds.get(ID)
        server.interrupt()
        await server.fault(Fault.HANG, below="meta-data/tags")
        hanging = [asyncio.create_task(imds.get(f"meta-data/tags/{n}"), name=f"tag {n}") for n in range(5)]
        await asyncio.sleep(0.1)
        begun = asyncio.get_running_loop().time()
        assert await imds.read(INSTANCE_ACTION, instance_action, urgent=True) is not None
        assert asyncio.get_running_loop().time() - begun < 0.7
        assert [await reason_of(task) for task in hanging] == [Reason.TIMEOUT] * 5


async def test_a_cancelled_question_leaves_the_client_usable():
    async with pair() as (server, imds):
        await server.fault(Fault.HANG)
        question = asyncio.create_task(imds.get(ID), name="question")
        await asyncio.sleep(0.05)
        question.cancel()
        with pytest.raises(asyncio.CancelledError):
            await question
        await server.fault(None)
        assert await imds.get(ID) is not None


async def test_an_endless_body_is_garbage_and_is_not_read_to_its_end():
    async with pair() as (server, imds):
        server.paths[ID] = "x" * (64 * 1024)
        assert len(await imds.get(ID)) == 64 * 1024
        server.paths[ID] = "x" * (64 * 1024 + 1)
        assert await reason_of(imds.get(ID)) is Reason.GARBAGE
        server.paths[ID] = "i-1"
        assert await imds.get(ID) == b"i-1"


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (b"SSH-2.0-OpenSSH_9.2\r\n\r\n", Reason.GARBAGE),
        (b"HTTP/1.1 200 OK\r\nContent-Length: ten\r\n\r\n", Reason.GARBAGE),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 20000 + b"\r\n\r\n", Reason.GARBAGE),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", Reason.GARBAGE),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\na\r\nb: ", Reason.GARBAGE),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf", Reason.BROKEN),
        (b"", Reason.BROKEN),
        (b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:9/\r\nContent-Length: 0\r\n\r\n", Reason.UNEXPECTED_STATUS),
        (b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n", Reason.UNEXPECTED_STATUS),
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", Reason.UNEXPECTED_STATUS),
        (b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n", Reason.UNAUTHORIZED),
    ],
)
async def test_p5_whatever_answers_the_token_request_is_unavailable_with_a_reason(reply, reason):
    async with listener(replying(reply)) as endpoint, Imds(endpoint=endpoint, clock=SystemClock()) as imds:
        assert await reason_of(imds.get(ID)) is reason


async def test_a_connection_closed_between_two_polls_is_opened_again():
    async with pair() as (server, imds):
        await imds.get(ID)
        await server.fault(Fault.REFUSE)
        await server.fault(None)
        assert await imds.get(ID) is not None


class JumpingClock:
    def __init__(self):
        self.jump = timedelta()

    def now(self):
        return SystemClock().now() + self.jump


@pytest.mark.parametrize("ahead", [0, 90, -3600])
async def test_skew_is_the_date_of_imds_against_our_clock(ahead):
    clock = JumpingClock()
    async with served() as server, Imds(endpoint=server.endpoint, clock=clock) as imds:
        server.skew = ahead
        await imds.get(ID)
        assert imds.skew == pytest.approx(ahead, abs=1.1)
        clock.jump = timedelta(hours=5)
        assert imds.skew == pytest.approx(ahead - 18000, abs=1.1), "our clock jumped: seen without asking again"


@pytest.mark.parametrize("date", [b"", b"Date: yesterday\r\n", b"Date: Mon, 99 Foo 99999 99:99:99 GMT\r\n"])
async def test_no_date_or_a_senseless_one_is_no_skew(date):
    reply = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n" + date + b"\r\nabc"
    async with listener(replying(reply)) as endpoint, Imds(endpoint=endpoint, clock=SystemClock()) as imds:
        await imds.get(ID)
        assert imds.skew is None
