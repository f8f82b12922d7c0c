"""A server that says what it is told to, byte for byte: for answers that no real S3 gives on demand."""

import asyncio
import contextlib
from dataclasses import dataclass, field


@dataclass(slots=True, kw_only=True)
class Asked:
    """A request as it arrived."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes = b""
    connection: int = 0


@dataclass(slots=True)
class Say:
    """What is answered: `raw`, by so many bytes at a time, once `after` bytes of the body are in (None: all of them).

    Then the connection is kept, or closed.
    """

    raw: bytes
    after: int | None = None
    closes: bool = False
    by: int = 0
    pause: float = 0.0


def answer(status=200, body=b"", *, closes=False, after=None, **headers):
    lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
    raw = f"HTTP/1.1 {status} Said\r\nContent-Length: {len(body)}\r\n{lines}\r\n".encode() + body
    return Say(raw, closes=closes, after=after)


def refusal(status, code, **headers):
    return answer(status, f"<Error><Code>{code}</Code><Message>because</Message></Error>".encode(), **headers)


@dataclass(slots=True)
class Scripted:
    """Answers each request with the next of `says`, and with an empty 200 when there is none left."""

    says: list[Say] = field(default_factory=list)
    asked: list[Asked] = field(default_factory=list)
    connections: int = 0
    endpoint: str = ""
    has_been_asked: asyncio.Event = field(default_factory=asyncio.Event)

    @contextlib.asynccontextmanager
    async def running(self, host="127.0.0.1"):
        server = await asyncio.start_server(self._serve, host, 0)
        async with server:
            port = server.sockets[0].getsockname()[1]
            self.endpoint = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
            yield self

    async def _serve(self, reader, writer):
        self.connections += 1
        number = self.connections
        try:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
                while await self._exchange(reader, writer, number):
                    pass
        finally:
            writer.close()

    async def _exchange(self, reader, writer, number):
        first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").rstrip().split("\r\n")
        method, target, _ = first.split(" ")
        pairs = (line.partition(":") for line in lines)
        asked = Asked(method=method, target=target, headers={n.lower(): v.strip() for n, _, v in pairs})
        asked.connection = number
        self.asked.append(asked)
        self.has_been_asked.set()
        say = self.says.pop(0) if self.says else answer()
        length = int(asked.headers.get("content-length", 0))
        asked.body = await reader.readexactly(length if say.after is None else min(length, say.after))
        step = say.by or len(say.raw) or 1
        for start in range(0, len(say.raw), step):
            writer.write(say.raw[start : start + step])
            await writer.drain()
            await asyncio.sleep(say.pause)
        return not say.closes
