import asyncio
import socket
from contextlib import closing, suppress

import pytest

from agent.observe import http
from agent.observe.http import ListenRefused, serving
from agent.observe.metrics import Metrics


class Daemon:
    """What the server asks: is the daemon well, and what are its numbers."""

    def __init__(self):
        self.metrics = Metrics(version="0.1.0", mode="act")
        self.well = (True, "")
        self.scrapes = 0

    def refresh(self):
        self.scrapes += 1
        return self.metrics.registry

    def healthy(self):
        return self.well


@pytest.fixture
def daemon():
    return Daemon()


@pytest.fixture
async def address(daemon):
    async with serving("127.0.0.1:0", daemon.refresh, daemon.healthy) as address:
        yield address


async def talk(address, request):
    """Send raw bytes, return the status, the headers and the body of the answer."""
    host, _, port = address.rpartition(":")
    async with asyncio.timeout(5):
        reader, writer = await asyncio.open_connection(host.strip("[]"), int(port))
        with closing(writer), suppress(ConnectionError):
            writer.write(request)
            answer = await reader.read()
    head, _, body = answer.partition(b"\r\n\r\n")
    status, *lines = head.decode().split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in lines)
    return int(status.split()[1]), headers, body.decode()


def request(path, method="GET", **headers):
    lines = [f"{method} {path} HTTP/1.1", "Host: x", *(f"{name}: {text}" for name, text in headers.items())]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


async def test_metrics_come_as_text(address, daemon):
    status, headers, body = await talk(address, request("/metrics"))
    assert status == 200
    assert headers["content-type"].startswith("text/plain; version=0.0.4")
    assert "hpc_agent_state 0.0" in body
    assert daemon.scrapes == 1


async def test_metrics_come_as_openmetrics_when_that_is_asked_for(address):
    status, headers, body = await talk(
        address, request("/metrics", Accept="application/openmetrics-text;version=1.0.0")
    )
    assert status == 200
    assert headers["content-type"].startswith("application/openmetrics-text")
    assert body.endswith("# EOF\n")


async def test_health_is_that_of_the_daemon(address, daemon):
    assert (await talk(address, request("/healthz")))[::2] == (200, '{"schema": 1, "status": "ok", "detail": ""}')
    daemon.well = (False, "the loop is 12 s late")
    status, _, body = await talk(address, request("/healthz"))
    assert status == 503
    assert "the loop is 12 s late" in body


async def test_head_answers_without_a_body(address):
    assert (await talk(address, request("/healthz", method="HEAD")))[::2] == (200, "")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "TRACE"])
async def test_p8_nothing_can_be_changed_through_the_port(address, method):
    assert (await talk(address, request("/metrics", method=method)))[0] == 405


@pytest.mark.parametrize("path", ["/", "/etc/passwd", "/metrics/../etc/passwd", "//metrics", "/metrics/", "/%2e%2e/x"])
async def test_p8_there_is_nothing_else_at_the_port(address, path):
    assert (await talk(address, request(path)))[0] == 404


async def test_the_answer_does_not_say_what_serves_it(address):
    _, headers, _ = await talk(address, request("/metrics"))
    assert headers["server"] == "hpc-agent"
    assert headers["connection"] == "close"


@pytest.mark.parametrize("raw", [request("/" + "a" * 9000), request("/metrics", X="a" * 9000), b"\x00\xff\r\n\r\n"])
async def test_p8_what_is_too_long_or_no_http_is_refused(address, raw):
    assert (await talk(address, raw))[0] == 400


async def test_p8_silent_connections_make_room_for_who_asks(address):
    host, _, port = address.rpartition(":")
    held = [await asyncio.open_connection(host, int(port)) for _ in range(http.MOST)]
    assert (await talk(address, request("/healthz")))[0] == 200
    oldest, _ = held[0]
    async with asyncio.timeout(5):
        with suppress(ConnectionError):
            assert await oldest.read() == b""
    assert not held[-1][0].at_eof()
    for _, writer in held:
        writer.close()


async def test_p8_a_client_that_says_nothing_is_dropped(daemon):
    async with serving("127.0.0.1:0", daemon.refresh, daemon.healthy, longest=0.05) as address:
        host, _, port = address.rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        with closing(writer), suppress(ConnectionError):
            async with asyncio.timeout(5):
                assert await reader.read() == b""


async def test_p6_a_port_that_is_taken_is_an_error_that_says_so(daemon):
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        listen = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(ListenRefused, match=r"listen on 127\.0\.0\.1:\d+: .*in use.*http\.listen"):
            async with serving(listen, daemon.refresh, daemon.healthy):
                pass


@pytest.mark.parametrize("listen", ["192.0.2.1:9732", "no-such-host.invalid:1", "127.0.0.1:many", "127.0.0.1"])
async def test_p6_an_address_that_is_not_ours_is_an_error_that_says_so(daemon, listen):
    with pytest.raises(ListenRefused):
        async with serving(listen, daemon.refresh, daemon.healthy):
            pass


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="this kernel has no IPv6")
async def test_all_addresses_are_those_of_ipv4_too(daemon):
    async with serving("[::]:0", daemon.refresh, daemon.healthy) as address:
        port = address.rpartition(":")[2]
        assert (await talk(f"127.0.0.1:{port}", request("/healthz")))[0] == 200
        assert (await talk(f"[::1]:{port}", request("/healthz")))[0] == 200
