"""One request and its answer, over whatever connection is there."""

import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Final, TypeVar

from agent.aws.wire.body import Outgoing
from agent.aws.wire.connection import PIECE, Connection, Lost
from agent.aws.wire.cord import Cord
from agent.aws.wire.endpoint import Endpoint
from agent.aws.wire.message import Answering, Head, request_head
from agent.aws.wire.pool import Pool
from agent.turns import RECEIVING, SENDING

T = TypeVar("T")
Heard = Callable[[Head, Iterator[memoryview]], T]
"""Takes an answer. A piece of it is there until the next is asked for."""

_TOGETHER: Final = 32 * 1024
"""A head and a body of at most so many bytes go out in one piece."""
_LARGEST: Final = 64 * 1024 * 1024
_NOT_GOOD: Final = 300


class Line:
    """Any thread may ask. `seconds` without a byte going or coming end a request."""

    def __init__(self, endpoint: Endpoint, context: ssl.SSLContext | None, seconds: float) -> None:
        self._pool = Pool(endpoint, context, seconds)
        self._seconds = seconds
        self._local = threading.local()

    def ask(
        self,
        method: str,
        target: str,
        headers: Mapping[str, str],
        body: Outgoing,
        cord: Cord,
        heard: Heard[T],
        *,
        seconds: float = 0.0,
        is_repeatable: bool = True,
    ) -> T:
        """Return what `heard` makes of the answer; `seconds` to wait for it, if it is not as usual. Raises Lost.

        A connection that was idle may have been closed without our knowing: what may be done twice is sent again.
        """
        begin = request_head(method, target, headers)
        if (kept := self._pool.take(cord)) is not None:
            answering = Answering(kept, method)
            try:
                return self._exchange(kept, answering, begin, body, cord, heard, seconds)
            except Lost as lost:
                if not is_repeatable or not lost.was_closed or answering.has_begun:
                    raise
        fresh = self._pool.fresh(cord)
        return self._exchange(fresh, Answering(fresh, method), begin, body, cord, heard, seconds)

    def close(self) -> None:
        self._pool.close()

    def _exchange(
        self,
        connection: Connection,
        answering: Answering,
        begin: bytes,
        body: Outgoing,
        cord: Cord,
        heard: Heard[T],
        seconds: float,
    ) -> T:
        is_whole = False
        try:
            with (SENDING if body.size else RECEIVING).taken():
                is_sent = self._send(connection, answering, begin, body)
                connection.wait_for(seconds or self._seconds)
                head = answering.head()
                if not is_sent and head.status < _NOT_GOOD:
                    raise Lost("the answer was good before the request was out")
                said = heard(head, answering.pieces(head, self._buffer))
            is_whole = is_sent and answering.is_reusable
        finally:
            cord.release()
            if is_whole:
                self._pool.give(connection)
            else:
                connection.close()
        return said

    def _send(self, connection: Connection, answering: Answering, begin: bytes, body: Outgoing) -> bool:
        """Send a request; return False when the answer came before it was out, and the rest was kept back."""
        waiting = begin
        try:
            for piece in body.pieces(self._buffer):
                if waiting and len(waiting) + len(piece) <= _TOGETHER:
                    waiting += piece
                    continue
                if waiting:
                    connection.send(waiting)
                    waiting = b""
                if answering.is_early():
                    return False
                connection.send(piece)
            if waiting:
                connection.send(waiting)
        except Lost as lost:
            if not lost.was_closed or not _has_answer(answering):
                raise
            return False
        return True

    @property
    def _buffer(self) -> memoryview:
        """A piece of memory of this thread's own."""
        try:
            return self._local.buffer  # type: ignore[no-any-return]
        except AttributeError:
            self._local.buffer = memoryview(bytearray(PIECE))
            return self._buffer


def whole(pieces: Iterator[memoryview]) -> bytes:
    """Return a body that is not large. Raises Lost for one that is."""
    found = bytearray()
    for piece in pieces:
        found += piece
        if len(found) > _LARGEST:
            raise Lost(f"more than {_LARGEST} bytes came where a few were asked for")
    return bytes(found)


def _has_answer(answering: Answering) -> bool:
    """Return whether the other side answered before it closed the connection."""
    try:
        return answering.is_early()
    except Lost:
        return False
