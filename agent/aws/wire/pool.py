"""Connections to one endpoint, kept for the next request; new ones spread over all its addresses."""

import itertools
import socket
import ssl
import time
from threading import Lock
from typing import Any, Final

from agent.aws.wire.connection import Connection, Lost
from agent.aws.wire.cord import Cord
from agent.aws.wire.endpoint import Endpoint

_NAMES_SECONDS: Final = 5.0
"""S3 gives other addresses every few seconds, and wants to be asked again (S3 User Guide, "Design patterns")."""
_MOST_ADDRESSES: Final = 3
"""Tried for one connection, each for a few seconds."""
_IDLE_SECONDS: Final = 30.0
"""An idle connection is forgotten by what is between us and S3, now and then without a word."""


class Pool:
    """Any thread may take and give. `seconds`: how long a connection may stand still."""

    def __init__(self, endpoint: Endpoint, context: ssl.SSLContext | None, seconds: float) -> None:
        self._endpoint = endpoint
        self._context = context
        self._seconds = seconds
        self._lock = Lock()
        self._idle: list[Connection] = []
        self._turn = itertools.count()
        self._addresses: list[tuple[int, tuple[object, ...]]] = []
        self._asked = float("-inf")
        self._closed = False

    def take(self, cord: Cord) -> Connection | None:
        """Return a connection that was used before and is as good as new, held by the cord; None when there is none."""
        while True:
            with self._lock:
                if not self._idle:
                    return None
                connection = self._idle.pop()
            if connection.rested() < _IDLE_SECONDS and not connection.has_news():
                cord.hold(connection)
                return connection
            connection.close()

    def fresh(self, cord: Cord) -> Connection:
        """Return a new connection, held by the cord. Raises Lost."""
        lost = Lost("the endpoint's name leads nowhere")
        for at in self._some_addresses():
            try:
                return self._opened(at, cord)
            except Lost as error:
                lost = error
        raise lost

    def _opened(self, at: tuple[int, tuple[object, ...]], cord: Cord) -> Connection:
        connection = Connection(at, self._seconds)
        try:
            cord.hold(connection)
            connection.open(self._context, self._endpoint.host)
        except Lost:
            cord.release()
            connection.close()
            raise
        return connection

    def give(self, connection: Connection) -> None:
        """Keep a connection whose last answer is over."""
        connection.idle_since = time.monotonic()
        with self._lock:
            if not self._closed:
                self._idle.append(connection)
                return
        connection.close()

    def close(self) -> None:
        """Close what is idle; what is not is closed when it is given."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    def _some_addresses(self) -> list[tuple[int, tuple[object, ...]]]:
        with self._lock:
            found, is_old = self._addresses, time.monotonic() - self._asked >= _NAMES_SECONDS
            if is_old and found:
                self._asked = time.monotonic()  # the others go by what is known meanwhile
        if is_old or not found:
            found = self._resolve(found)
        first = next(self._turn) % len(found)
        return (found[first:] + found[:first])[:_MOST_ADDRESSES]

    def _resolve(self, known: list[tuple[int, tuple[object, ...]]]) -> list[tuple[int, tuple[object, ...]]]:
        """Return the addresses of now; those that are known when nobody tells: jobs can drown the node's resolver."""
        try:
            answers: list[Any] = socket.getaddrinfo(self._endpoint.host, self._endpoint.port, type=socket.SOCK_STREAM)
        except OSError as error:
            if known:
                return known
            raise Lost(f"{self._endpoint.host}: {error.strerror}") from error
        with self._lock:
            self._addresses = [(family, address) for family, _, _, _, address in answers]
            self._asked = time.monotonic()
            return self._addresses
