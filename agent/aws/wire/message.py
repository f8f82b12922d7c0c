"""HTTP/1.1 messages, as far as S3 needs them."""

import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Final

from agent.aws.wire.connection import Connection, Lost
from agent.value import value

_MOST_HEAD: Final = 64 * 1024
_SOME: Final = 16 * 1024
_INTERIM: Final = re.compile(rb"HTTP/1\.[01] 1")
_END: Final = b"\r\n\r\n"
_BODILESS: Final = {204, 304}
_CHUNK_SIZE: Final = re.compile(rb"[0-9A-Fa-f]{1,15}")


@value
class Head:
    """How an answer begins. Names of `headers` are in lower case."""

    status: int
    headers: Mapping[str, str]


def request_head(method: str, target: str, headers: Mapping[str, str]) -> bytes:
    """Return how a request begins."""
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"{method} {target} HTTP/1.1\r\n{lines}\r\n".encode("latin-1")


def parsed(raw: bytes) -> Head:
    """Return the head of an answer. Raises Lost for what is none."""
    first, *lines = raw.decode("latin-1").split("\r\n")
    version, _, rest = first.partition(" ")
    status = rest[:3]
    if not version.startswith("HTTP/1.") or not (status.isascii() and status.isdigit()):
        raise Lost(f"what came is no answer of HTTP: {first[:60]!r}")
    pairs = (line.partition(":") for line in lines)
    return Head(status=int(status), headers={name.strip().lower(): value.strip() for name, _, value in pairs})


def moment(date: str) -> datetime:
    """Return the time that a header tells. Raises ValueError."""
    return datetime.strptime(date, "%a, %d %b %Y %H:%M:%S GMT").replace(tzinfo=UTC)


class Answering:
    """What comes over a connection after a request of `method`. Raises Lost wherever that breaks off."""

    def __init__(self, connection: Connection, method: str) -> None:
        self._connection = connection
        self._method = method
        self._rest = bytearray()
        self._has_begun = False
        self._keeps = True
        self._over = False

    @property
    def has_begun(self) -> bool:
        """Some of it has come."""
        return self._has_begun

    @property
    def is_reusable(self) -> bool:
        """The answer is over, and another request may follow."""
        return self._over and self._keeps and not self._rest

    def head(self) -> Head:
        """Return the head of the answer; those of 1xx before it are passed over."""
        while True:
            while (end := self._rest.find(_END)) < 0:
                if len(self._rest) > _MOST_HEAD:
                    raise Lost("the head of the answer has no end")
                self._more()
            head = parsed(bytes(self._rest[:end]))
            del self._rest[: end + len(_END)]
            if head.status >= 200:
                self._keeps = head.headers.get("connection", "").lower() != "close"
                return head

    def pieces(self, head: Head, buffer: memoryview) -> Iterator[memoryview]:
        """Yield the body: `buffer`, filled again and again."""
        if self._method != "HEAD" and head.status not in _BODILESS:
            if "chunked" in head.headers.get("transfer-encoding", "").lower():
                yield from self._chunks(buffer)
            elif (length := head.headers.get("content-length", "")).isdigit():
                yield from self._run(int(length), buffer)
            else:
                yield from self._all(buffer)
        self._over = True

    def _run(self, left: int, buffer: memoryview) -> Iterator[memoryview]:
        while left:
            size = min(left, len(buffer))
            have = self._take(buffer[:size])
            while have < size:
                count = self._connection.receive(buffer[have:size])
                if not count:
                    raise Lost(f"the answer ended {left - have} bytes early")
                have += count
            left -= size
            yield buffer[:size]

    def _chunks(self, buffer: memoryview) -> Iterator[memoryview]:
        while size := self._chunk_size():
            yield from self._run(size, buffer)
            self._line()
        while self._line():  # trailers
            pass

    def _chunk_size(self) -> int:
        line = self._line()
        if (found := _CHUNK_SIZE.match(line)) is None:
            raise Lost(f"what came is no chunk: {bytes(line[:60])!r}")
        return int(found[0], 16)

    def _all(self, buffer: memoryview) -> Iterator[memoryview]:
        self._keeps = False
        while count := self._take(buffer) or self._connection.receive(buffer):
            yield buffer[:count]

    def _take(self, into: memoryview) -> int:
        """Move what came with the head."""
        count = min(len(self._rest), len(into))
        into[:count] = self._rest[:count]
        del self._rest[:count]
        return count

    def _line(self) -> bytearray:
        while (end := self._rest.find(b"\r\n")) < 0:
            if len(self._rest) > _MOST_HEAD:
                raise Lost("a line of the answer has no end")
            self._more()
        line = self._rest[:end]
        del self._rest[: end + 2]
        return line

    def is_early(self) -> bool:
        """Return whether an answer has begun while the request was still being sent. 100 Continue is none."""
        if self._connection.has_news():
            piece = memoryview(bytearray(_SOME))
            count = self._connection.news(piece)
            if count is not None:
                self._came(piece[:count])
        if _INTERIM.match(self._rest) and (end := self._rest.find(_END)) >= 0:
            del self._rest[: end + len(_END)]
        return bool(self._rest) and not _INTERIM.match(self._rest)

    def _more(self) -> None:
        piece = memoryview(bytearray(_SOME))
        self._came(piece[: self._connection.receive(piece)])

    def _came(self, piece: memoryview) -> None:
        if not piece:
            raise Lost("the connection ended before the answer", was_closed=True)
        self._has_begun = True
        self._rest += piece
