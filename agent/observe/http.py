"""Serves `/metrics` and `/healthz` to anyone who can reach the port: small, bounded, read-only.

A job's user can reach it too, so connections are few and short: one request each, gone after `longest` seconds, or
when too many others come. Who is crowded out is the address that holds most of them: never a Prometheus elsewhere.
"""

import asyncio
import socket
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Final

from aiohttp import web
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from agent.errors import PermanentError

MOST: Final = 32
"""Connections at a time; the next takes the place of the oldest one of the address that holds most."""

LONGEST: Final = 15.0
"""Seconds from a connection to its end, whatever the client does."""

Healthy = Callable[[], tuple[bool, str]]
"""Returns whether the agent does its work, and if not, why."""

Refresh = Callable[[], CollectorRegistry]
"""Brings the series up to date and returns them."""


class ListenRefused(PermanentError):
    """The address can't be listened on: taken, not ours, or no address."""


@asynccontextmanager
async def serving(listen: str, refresh: Refresh, healthy: Healthy, *, longest: float = LONGEST) -> AsyncIterator[str]:
    """Serve at `listen` ("[::]:9732": IPv4 as well; port 0: any) and yield the address taken, until left.

    Raises ListenRefused.
    """
    door = await _listen(listen)
    runner = web.AppRunner(
        _application(refresh, healthy),
        access_log=None,
        handle_signals=False,
        max_line_size=2048,
        max_field_size=4096,
        max_headers=64,
        shutdown_timeout=1.0,
    )
    await runner.setup()
    assert runner.server is not None
    server = await asyncio.get_running_loop().create_server(_bounded(runner.server, longest), sock=door, backlog=MOST)
    try:
        host, port = door.getsockname()[:2]
        yield f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    finally:
        server.close()
        await runner.cleanup()


async def _listen(listen: str) -> socket.socket:
    host, _, number = listen.rpartition(":")
    try:
        port = int(number)
        found = await asyncio.get_running_loop().getaddrinfo(
            host.strip("[]"), port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        family, _, _, _, address = found[0]
        return _bind(family, (str(address[0]), port))
    except (OSError, ValueError) as error:
        raise ListenRefused(
            "listen on", listen, str(error), hint='set http.listen to a free address, or to "" for none'
        ) from error


def _bind(family: socket.AddressFamily, address: tuple[str, int]) -> socket.socket:
    """Bind without asyncio, which makes IPv6 sockets deaf to IPv4; and on a kernel without IPv6, bind IPv4."""
    dual = family == socket.AF_INET6 and address[0] == "::" and socket.has_dualstack_ipv6()
    if family == socket.AF_INET6 and address[0] == "::" and not dual:
        family, address = socket.AF_INET, ("0.0.0.0", address[1])  # noqa: S104 - what `::` asked for
    return socket.create_server(address, family=family, dualstack_ipv6=dual, backlog=MOST)


def _bounded(server: web.Server, longest: float) -> Callable[[], asyncio.BaseProtocol]:
    def admit() -> asyncio.BaseProtocol:
        standing = [connection for connection in server.connections if not _is_ending(connection)]
        while len(standing) >= MOST:
            oldest = _crowding(standing)
            standing.remove(oldest)
            _end(oldest)
        connection = server()
        asyncio.get_running_loop().call_later(longest, _end, connection)
        return connection

    return admit


def _crowding(standing: Sequence[web.RequestHandler]) -> web.RequestHandler:
    """The oldest connection of the address that holds most."""
    crowds = Counter(_peer(connection) for connection in standing)
    crowd, _ = crowds.most_common(1)[0]
    return next(connection for connection in standing if _peer(connection) == crowd)


def _peer(connection: web.RequestHandler) -> str:
    name = connection.transport and connection.transport.get_extra_info("peername")
    return str(name[0]) if name else ""


def _is_ending(connection: asyncio.BaseProtocol) -> bool:
    transport = getattr(connection, "transport", None)
    return transport is None or transport.is_closing()


def _end(connection: asyncio.BaseProtocol) -> None:
    transport = getattr(connection, "transport", None)
    if isinstance(transport, asyncio.WriteTransport):
        transport.abort()


def _application(refresh: Refresh, healthy: Healthy) -> web.Application:
    async def metrics(request: web.Request) -> web.Response:
        encode, kind = choose_encoder(request.headers.get("Accept", ""))
        return web.Response(body=encode(refresh()), headers={"Content-Type": kind})

    async def health(_: web.Request) -> web.Response:
        is_healthy, detail = healthy()
        document = {"schema": 1, "status": "ok" if is_healthy else "failing", "detail": detail}
        return web.json_response(document, status=200 if is_healthy else 503)

    application = web.Application(client_max_size=1024)
    application.router.add_get("/metrics", metrics)
    application.router.add_get("/healthz", health)
    application.on_response_prepare.append(_finish)
    return application


async def _finish(_: web.Request, response: web.StreamResponse) -> None:
    """One request per connection, and no word about what serves it."""
    response.force_close()
    response.headers["Connection"] = "close"
    response.headers["Server"] = "hpc-agent"
    response.headers["X-Content-Type-Options"] = "nosniff"
