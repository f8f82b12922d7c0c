"""The control socket: one JSON object a line, for people and for the command line on this node.

Any user of the node may ask for the status; what changes something is for root only (SO_PEERCRED, P8). A connection
gets one request of limited size and limited time, a user gets a limited number of connections at once, and so do all
users together.
"""

import asyncio
import contextlib
import json
import logging
import socket
import struct
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any, Final

from agent.errors import AgentError, PermanentError

logger = logging.getLogger(__name__)

Json = dict[str, Any]
Operation = Callable[[Json], AsyncGenerator[Json, None]]
"""Takes a request, with the `uid` of who asks, and yields the lines of the answer."""

LONGEST_REQUEST: Final = 64 * 1024
REQUEST_SECONDS: Final = 5.0
REPLY_SECONDS: Final = 5.0
CONNECTIONS: Final = 64
CONNECTIONS_PER_USER: Final = 8
MODE: Final = 0o666
"""Everybody may connect: who may do what is decided by who asks."""


class SocketRefused(PermanentError):
    """The control socket can't be opened."""


class NotAllowed(PermanentError):
    """The one who asks may not do this."""


class BadRequest(PermanentError):
    """The request is not one."""

    exit_code = 2


class Control:
    """Serves `everybody`'s operations to all users and `root`'s to root, by name of the request's `op`."""

    def __init__(self, path: Path, *, everybody: Mapping[str, Operation], root: Mapping[str, Operation]) -> None:
        self._path = path
        self._everybody = everybody
        self._root = root
        self._connected: Counter[int] = Counter()

    @contextlib.asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        """Serve within the context. Raises SocketRefused."""
        try:
            server = await asyncio.start_unix_server(self._serve, sock=self._bind(), limit=LONGEST_REQUEST)
        except OSError as error:
            hint = "`hpc-agent status` will not work; everything else does"
            raise SocketRefused("listen on", str(self._path), error.strerror or repr(error), hint=hint) from error
        try:
            yield
        finally:
            server.close()
            self._path.unlink(missing_ok=True)

    def _bind(self) -> socket.socket:
        self._path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        self._path.unlink(missing_ok=True)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            listener.bind(str(self._path))
            self._path.chmod(MODE)
        except OSError:
            listener.close()
            raise
        return listener

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        uid = peer(writer)
        self._connected[uid] += 1
        try:
            if self._has_room(uid):
                await self._answer(uid, reader, writer)
        except (OSError, TimeoutError):
            logger.debug("a client of uid %d went away", uid)
        finally:
            self._connected[uid] -= 1
            writer.close()

    def _has_room(self, uid: int) -> bool:
        """Return whether `uid` may have as many as it has now: whatever the users hold together, root gets in."""
        if uid == 0:
            return self._connected[0] <= CONNECTIONS
        users = self._connected.total() - self._connected[0]
        return users <= CONNECTIONS and self._connected[uid] <= CONNECTIONS_PER_USER

    async def _answer(self, uid: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            request = await _request(reader)
            async with contextlib.aclosing(self._operation(uid, request)({**request, "uid": uid})) as lines:
                async for line in lines:
                    await _reply(writer, line)
        except AgentError as error:
            what = f"{error.op} {error.subject}: {error.detail}"
            await _reply(writer, {"error": {"message": what, "hint": error.hint, "exit": error.exit_code}})

    def _operation(self, uid: int, request: Json) -> Operation:
        name = str(request.get("op"))
        if name in self._everybody:
            return self._everybody[name]
        if name not in self._root:
            raise BadRequest("do", name[:40], "no such operation")
        if uid != 0:
            raise NotAllowed("do", name, f"this is for root, not for uid {uid}", hint="use sudo")
        logger.info("root asks to %s", name)
        return self._root[name]


async def _request(reader: asyncio.StreamReader) -> Json:
    try:
        async with asyncio.timeout(REQUEST_SECONDS):
            request = json.loads(await reader.readline())
    except (ValueError, RecursionError) as error:  # the latter: brackets in brackets in brackets
        raise BadRequest("read", "request", "not a line of JSON, or too long") from error
    if not isinstance(request, dict):
        raise BadRequest("read", "request", "not a JSON object")
    return request


async def _reply(writer: asyncio.StreamWriter, line: Json) -> None:
    writer.write(json.dumps(line, separators=(",", ":")).encode() + b"\n")
    async with asyncio.timeout(REPLY_SECONDS):
        await writer.drain()


def peer(writer: asyncio.StreamWriter) -> int:
    """Return the uid of the process at the other end, as the kernel knows it."""
    connection: socket.socket = writer.get_extra_info("socket")
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    _, uid, _ = struct.unpack("3i", credentials)
    return int(uid)
