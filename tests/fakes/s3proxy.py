"""A proxy in front of a real S3 server that counts what passes and breaks it on demand.

In the test's own loop (`S3Proxy`) or as a process driven over a unix socket (`python -m tests.fakes.s3proxy`,
`ProxyProcess`, `ProxyControl`). One JSON command per line, one JSON answer.
"""

import argparse
import asyncio
import contextlib
import json
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

_CHUNK = 64 * 1024
_ERROR = '<?xml version="1.0" encoding="UTF-8"?><Error><Code>{code}</Code><Message>injected</Message></Error>'


class Kind(StrEnum):
    """What can be broken."""

    ANSWER = "answer"  # answer with `status` and `code` ("": no body) once the request is in; the server hears nothing
    COMPLETE_ERROR = "complete-error"  # answer CompleteMultipartUpload with 200 and an error in the body
    RESET = "reset"  # reset the connection when `after` bytes of the body have arrived
    LATENCY = "latency"  # wait `seconds` before passing the request on
    HANG = "hang"  # take the request, never answer
    STALL = "stall"  # stop reading when `after` bytes of the body have arrived
    DOWN = "down"  # refuse connections
    CORRUPT = "corrupt"  # flip a bit in the body of an answer
    CUT = "cut"  # close in the middle of an answer, after `after` bytes of its body
    LOSE_REPLY = "lose-reply"  # pass the request on, let the server do it, reset instead of answering


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """For requests of `method` whose path and query hold `key`; `times` None: until lifted."""

    kind: Kind
    method: str = ""
    key: str = ""
    times: int | None = None
    status: int = 503
    code: str = "SlowDown"
    after: int = 0
    seconds: float = 0.0

    def hits(self, request: "Request") -> bool:
        if self.kind is Kind.COMPLETE_ERROR and not (request.method == "POST" and "uploadId" in request.query):
            return False
        return self.times != 0 and self.method in {"", request.method} and self.key in unquote(request.target)


@dataclass(slots=True, kw_only=True)
class Seen:
    """One request as it was counted: bytes of the bodies that arrived, status 0 when there was no answer."""

    method: str
    key: str
    query: str
    headers: Mapping[str, str] = field(default_factory=dict)
    received: int = 0
    sent: int = 0
    status: int = 0
    fault: str = ""

    @property
    def size(self) -> int:
        """What of the body that arrived is the object's: one with its checksum behind it comes in a frame."""
        return min(self.received, int(self.headers.get("x-amz-decoded-content-length", self.received)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    method: str
    target: str
    head: bytes
    headers: Mapping[str, str]

    @property
    def query(self) -> str:
        return urlsplit(self.target).query

    @property
    def key(self) -> str:
        """The path without the bucket."""
        return unquote(urlsplit(self.target).path).lstrip("/").partition("/")[2]


class _Broken(Exception):
    """The connection ends here."""


class S3Proxy:
    def __init__(
        self, to: tuple[str, int], *, host: str = "127.0.0.1", port: int = 0, tls: ssl.SSLContext | None = None
    ):
        self._to = to
        self._host = host
        self._port = port
        self._tls = tls
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()
        self._stuck: set[asyncio.Task[None]] = set()
        self._faults: list[Fault] = []
        self.log: list[Seen] = []
        self.most_connections = 0

    @property
    def endpoint(self) -> str:
        return f"{'https' if self._tls else 'http'}://{self._host}:{self._port}"

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, self._host, self._port, ssl=self._tls)
        self._port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
            for task in self._connections:
                task.cancel()
            await asyncio.gather(*self._connections, return_exceptions=True)
            await self._server.wait_closed()
            self._server = None

    async def __aenter__(self):
        await self.start()
        return self

    async def __aexit__(self, *_):
        await self.stop()

    async def fault(self, fault: Fault) -> None:
        """Break things so from now on, beside what is broken already."""
        if fault.kind is Kind.DOWN:
            await self.stop()
        else:
            self._faults.append(fault)

    async def lift(self) -> None:
        """Let everything pass again; what hangs is cut."""
        self._faults.clear()
        for task in self._stuck:
            task.cancel()
        if self._server is None:
            await self.start()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        self._connections.add(task)
        self.most_connections = max(self.most_connections, len(self._connections))
        upstream: asyncio.StreamWriter | None = None
        try:
            from_server, upstream = await asyncio.open_connection(*self._to)
            while await self._exchange(reader, writer, from_server, upstream):
                pass
        except (_Broken, OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            writer.transport.abort()
        finally:
            self._connections.discard(task)
            writer.close()
            if upstream is not None:
                upstream.close()

    async def _exchange(self, reader, writer, from_server, upstream) -> bool:
        """Pass one request and its answer on; return whether another may follow."""
        head = await _read_head(reader)
        if head is None:
            return False
        request = _request(head)
        seen = Seen(method=request.method, key=request.key, query=request.query, headers=request.headers)
        self.log.append(seen)
        fault = self._take(request)
        seen.fault = fault.kind if fault else ""
        if fault and fault.kind is Kind.LATENCY:
            await asyncio.sleep(fault.seconds)
        if fault and fault.kind in {Kind.ANSWER, Kind.COMPLETE_ERROR, Kind.HANG}:
            await self._swallow(request, reader, seen, fault)
            await _answer_instead(request, writer, seen, fault)
            return True
        if request.headers.get("expect"):
            writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        upstream.write(request.head)
        await self._pass_body(request, reader, upstream, seen, fault)
        return await self._pass_answer(request, from_server, writer, seen, fault)

    def _take(self, request: Request) -> Fault | None:
        for index, fault in enumerate(self._faults):
            if fault.hits(request):
                if fault.times is not None:
                    self._faults[index] = replace(fault, times=fault.times - 1)
                return fault
        return None

    async def _swallow(self, request: Request, reader, seen: Seen, fault: Fault) -> None:
        left = int(request.headers.get("content-length", 0))
        while left:
            chunk = await reader.read(min(left, _CHUNK))
            if not chunk:
                raise _Broken
            left -= len(chunk)
            seen.received += len(chunk)
        if fault.kind is Kind.HANG:
            await self._hang()

    async def _hang(self) -> None:
        task = asyncio.current_task()
        self._stuck.add(task)
        try:
            await asyncio.Event().wait()
        finally:
            self._stuck.discard(task)

    async def _pass_body(self, request: Request, reader, upstream, seen: Seen, fault: Fault | None) -> None:
        left = int(request.headers.get("content-length", 0))
        while left:
            if fault and fault.kind is Kind.RESET and seen.received >= fault.after:
                raise _Broken
            if fault and fault.kind is Kind.STALL and seen.received >= fault.after:
                await self._hang()
            chunk = await reader.read(min(left, _CHUNK))
            if not chunk:
                raise _Broken
            left -= len(chunk)
            seen.received += len(chunk)
            upstream.write(chunk)
            await upstream.drain()
        if fault and fault.kind is Kind.RESET:
            raise _Broken

    async def _pass_answer(self, request: Request, from_server, writer, seen: Seen, fault: Fault | None) -> bool:
        head = await _read_head(from_server)
        if head is None:
            raise _Broken
        status, headers = _status(head)
        if fault and fault.kind is Kind.LOSE_REPLY:
            raise _Broken
        writer.write(head)
        if request.method != "HEAD" and status not in {204, 304}:
            await _pass_answer_body(headers, from_server, writer, seen, fault)
        await writer.drain()
        seen.status = status
        return headers.get("connection", "").lower() != "close"


async def _answer_instead(request: Request, writer, seen: Seen, fault: Fault) -> None:
    is_complete = fault.kind is Kind.COMPLETE_ERROR
    seen.status = 200 if is_complete else fault.status
    code = "InternalError" if is_complete else fault.code
    body = _ERROR.format(code=code).encode() if code else b""
    writer.write(f"HTTP/1.1 {seen.status} Injected\r\nContent-Length: {len(body)}\r\n\r\n".encode())
    if request.method != "HEAD":
        writer.write(body)
    await writer.drain()


async def _pass_answer_body(headers: Mapping[str, str], from_server, writer, seen: Seen, fault: Fault | None) -> None:
    if headers.get("transfer-encoding", "").lower() == "chunked":
        while size := await _pass_chunk_line(from_server, writer):
            await _pass_bytes(size, from_server, writer, seen, fault)
            writer.write(await from_server.readexactly(2))
        writer.write(await from_server.readexactly(2))
    else:
        await _pass_bytes(int(headers.get("content-length", 0)), from_server, writer, seen, fault)


async def _pass_chunk_line(from_server, writer) -> int:
    line = await from_server.readline()
    writer.write(line)
    return int(line, 16)


async def _pass_bytes(left: int, from_server, writer, seen: Seen, fault: Fault | None) -> None:
    while left:
        chunk = await from_server.read(min(left, _CHUNK))
        if not chunk:
            raise _Broken
        left -= len(chunk)
        if fault and fault.kind is Kind.CORRUPT and not seen.sent:
            chunk = bytes([chunk[0] ^ 1]) + chunk[1:]
        if fault and fault.kind is Kind.CUT and seen.sent + len(chunk) > fault.after:
            writer.write(chunk[: fault.after - seen.sent])
            await writer.drain()
            raise _Broken
        seen.sent += len(chunk)
        writer.write(chunk)
        await writer.drain()


async def _read_head(reader) -> bytes | None:
    try:
        return await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return None


def _headers(lines: Sequence[str]) -> dict[str, str]:
    pairs = (line.partition(":") for line in lines if line)
    return {name.strip().lower(): value.strip() for name, _, value in pairs}


def _request(head: bytes) -> Request:
    first, *lines = head.decode("latin-1").split("\r\n")
    method, target, _ = first.split(" ")
    return Request(method=method, target=target, head=head, headers=_headers(lines))


def _status(head: bytes) -> tuple[int, dict[str, str]]:
    first, *lines = head.decode("latin-1").split("\r\n")
    return int(first.split(" ")[1]), _headers(lines)


class ProxyControl:
    """Drives a proxy in another process. Each call is answered when it is done."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def fault(self, kind: Kind, **fields: Any) -> None:
        self._ask({"do": "fault", "kind": kind, **fields})

    def lift(self) -> None:
        self._ask({"do": "lift"})

    def log(self) -> list[Seen]:
        return [Seen(**each) for each in self._ask({"do": "log"})["log"]]

    def forget(self) -> None:
        """Begin the log anew."""
        self._ask({"do": "forget"})

    def endpoint(self) -> str:
        return str(self._ask({"do": "endpoint"})["endpoint"])

    def received(self, method: str = "PUT", key: str = "") -> int:
        """Return how many body bytes came in requests of `method` whose key holds `key`."""
        return sum(seen.size for seen in self.log() if seen.method == method and key in seen.key)

    def _ask(self, command: Mapping[str, Any]) -> dict[str, Any]:
        with socket.socket(socket.AF_UNIX) as wire:
            wire.settimeout(10)
            wire.connect(str(self._path))
            wire.sendall(json.dumps(command).encode() + b"\n")
            answer = json.loads(wire.makefile("rb").readline())
        if not answer.get("ok"):
            raise ValueError(answer)
        return answer


class ProxyProcess:
    """The proxy as a child on `listen` (port 0: any). `before` is put before the command line: `ip netns exec ...`;
    where it leads, `control` is at `inside`, when that differs.
    """

    def __init__(
        self, listen: str, to: str, control: Path, *, before: Sequence[str] = (), inside: Path | None = None
    ) -> None:
        self.endpoint = ""
        self.control = ProxyControl(control)
        self._socket = control
        command = [sys.executable, "-m", "tests.fakes.s3proxy", "--listen", listen, "--to", to]
        self._argv = [*before, *command, "--control", str(inside or control)]
        self._child: subprocess.Popen[bytes] | None = None

    def __enter__(self):
        self._child = subprocess.Popen(self._argv, cwd=Path(__file__).parents[2], stdin=subprocess.PIPE)
        until = time.monotonic() + 30
        while True:
            # The socket is there a moment before anybody listens.
            with contextlib.suppress(FileNotFoundError, ConnectionRefusedError):
                self.endpoint = self.control.endpoint()
                return self
            if self._child.poll() is not None or time.monotonic() > until:
                self.stop()
                raise RuntimeError("the proxy did not start")
            time.sleep(0.02)

    def stop(self) -> None:
        if self._child is not None:
            self._child.kill()
            self._child.communicate()
            self._child = None
        self._socket.unlink(missing_ok=True)

    def __exit__(self, *_):
        self.stop()


async def _obey(proxy: S3Proxy, command: dict[str, Any]) -> dict[str, Any]:
    match command.pop("do"):
        case "fault":
            await proxy.fault(Fault(**{**command, "kind": Kind(command["kind"])}))
        case "lift":
            await proxy.lift()
        case "log":
            return {"log": [asdict(seen) for seen in proxy.log]}
        case "endpoint":
            return {"endpoint": proxy.endpoint}
        case "forget":
            proxy.log.clear()
        case other:
            raise ValueError(f"no such command: {other!r}")
    return {}


def _controller(proxy: S3Proxy) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], Any]:
    async def control(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            try:
                answer = {"ok": True, **await _obey(proxy, json.loads(line))}
            except (KeyError, TypeError, ValueError) as error:
                answer = {"ok": False, "error": repr(error)}
            writer.write(json.dumps(answer).encode() + b"\n")
            await writer.drain()
        writer.close()

    return control


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    return host, int(port)


async def _run(listen: str, to: str, control: str) -> None:
    host, port = _address(listen)
    async with S3Proxy(_address(to), host=host, port=port) as proxy:
        server = await asyncio.start_unix_server(_controller(proxy), control, limit=2**20)
        async with server:
            # Ends when the parent is gone: it holds the other end of stdin.
            await asyncio.to_thread(sys.stdin.read)


def main() -> None:
    parser = argparse.ArgumentParser()
    for option in ("--listen", "--to", "--control"):
        parser.add_argument(option, required=True)
    options = parser.parse_args()
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_run(options.listen, options.to, options.control))


if __name__ == "__main__":
    main()
