"""A connection: bytes out, bytes in, plain or TLS, never without a limit of time.

TLS runs over memory, half a MiB at a time: OpenSSL on the socket itself would make a system call for each 16 KiB, and
with smaller pieces threads wait more often for Python's lock (64 KiB: twice the CPU). Whatever goes wrong is Lost.
"""

import contextlib
import select
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from typing import Final, cast

from agent.aws.answers import TRUST
from agent.turns import aside

PIECE: Final = 512 * 1024
CONNECT_SECONDS: Final = 3.0


class Lost(Exception):
    """The connection is of no use any more. `was_closed`: by the other side, so that another may do better."""

    def __init__(self, detail: str, *, hint: str = "", was_closed: bool = False) -> None:
        super().__init__(detail)
        self.detail = detail
        self.hint = hint
        self.was_closed = was_closed


@contextlib.contextmanager
def _losing(seconds: float) -> Iterator[None]:
    try:
        yield
    except ssl.SSLCertVerificationError as error:
        raise Lost(error.verify_message, hint=TRUST) from error
    except TimeoutError as error:
        raise Lost(f"nothing moved for {seconds:g} s") from error
    except OSError as error:
        was_closed = isinstance(error, ConnectionError | ssl.SSLEOFError)
        raise Lost(error.strerror or str(error) or type(error).__name__, was_closed=was_closed) from error


class Connection:
    """One thread at a time; `cut` may be called by any other. `seconds`: how long it may stand still."""

    def __init__(self, at: tuple[int, tuple[object, ...]], seconds: float) -> None:
        """Prepare a connection to a family and an address. `open` opens it. Raises Lost."""
        family, self._address = at
        with _losing(seconds):
            self._socket = socket.socket(family, socket.SOCK_STREAM)
        self._seconds = seconds
        self._patience = seconds
        self._tls: _Tls | None = None
        self._readable, self._writable = select.poll(), select.poll()
        self._readable.register(self._socket, select.POLLIN)
        self._writable.register(self._socket, select.POLLOUT)
        self.idle_since = 0.0

    def open(self, context: ssl.SSLContext | None, host: str) -> None:
        """Connect, and shake hands where there is a context. Raises Lost."""
        with _losing(CONNECT_SECONDS):
            self._socket.settimeout(CONNECT_SECONDS)
            self._socket.connect(self._address)
            self._socket.settimeout(0.0)
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if context is not None:
                self._tls = _Tls(self._send_all, self._receive_some, context, host)

    def wait_for(self, seconds: float) -> None:
        """Have the next answers come within `seconds`."""
        self._patience = seconds

    def send(self, piece: bytes | memoryview) -> None:
        """Raises Lost."""
        with _losing(self._seconds):
            if self._tls is None:
                self._send_all(memoryview(piece))
            else:
                self._tls.send(piece)

    def receive(self, into: memoryview) -> int:
        """Return how many bytes came; 0 when no more will. Raises Lost."""
        with _losing(self._patience):
            return self._receive_some(into) if self._tls is None else self._tls.receive(into)

    def has_news(self) -> bool:
        """Return whether something came that nobody has taken yet; it may be the end."""
        with _losing(self._seconds):
            return bool(self._readable.poll(0))

    def news(self, into: memoryview) -> int | None:
        """Return how many bytes came of what `has_news` told of: 0 at the end, None when they are TLS's own affair."""
        with _losing(self._patience):
            return self._receive_some(into) if self._tls is None else self._tls.news(into)

    def cut(self) -> None:
        """Have whatever waits for this connection come back at once."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._socket.close()

    def rested(self) -> float:
        """Return for how many seconds nobody has used it."""
        return time.monotonic() - self.idle_since

    def _send_all(self, view: memoryview) -> None:
        sent = 0
        while sent < len(view):
            try:
                sent += self._socket.send(view[sent:])
            except BlockingIOError:
                _wait(self._writable, self._seconds)

    def _receive_some(self, into: memoryview) -> int:
        while True:
            try:
                return self._socket.recv_into(into)
            except BlockingIOError:
                _wait(self._readable, self._patience)


def _wait(poll: select.poll, seconds: float) -> None:
    with aside():
        if not poll.poll(seconds * 1000):
            raise TimeoutError


class _Tls:
    def __init__(
        self,
        send_all: Callable[[memoryview], None],
        receive_some: Callable[[memoryview], int],
        context: ssl.SSLContext,
        host: str,
    ) -> None:
        self._send_all = send_all
        self._receive_some = receive_some
        self._came, self._goes = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._object = context.wrap_bio(self._came, self._goes, server_hostname=host)
        # With a buffer it returns a number, which typeshed does not know.
        self._decrypt = cast("Callable[[int, memoryview], int]", self._object.read)
        self._raw = memoryview(bytearray(PIECE))
        self._shake_hands()

    def _shake_hands(self) -> None:
        is_done = False
        while not is_done:
            try:
                self._object.do_handshake()
                is_done = True
            except ssl.SSLWantReadError:
                self._flush()
                if not self._refill():
                    raise ConnectionError("the connection ended within the TLS handshake") from None
            finally:
                self._flush()  # an alert, when it failed

    def send(self, piece: bytes | memoryview) -> None:
        self._object.write(piece)
        self._flush()

    def receive(self, into: memoryview) -> int:
        while (have := self._what_came(into)) is None:
            self._flush()
            if not self._refill():
                return 0
        return have

    def _what_came(self, into: memoryview) -> int | None:
        """Return how many bytes are there by now: all the records of a piece, of 16 KiB each. 0 is the end."""
        have = 0
        try:
            while have < len(into) and (count := self._decrypt(len(into) - have, into[have:])):
                have += count
        except ssl.SSLWantReadError:
            return have or None
        except ssl.SSLZeroReturnError:  # it will be said again
            return have
        return have

    def news(self, into: memoryview) -> int | None:
        if not self._refill():
            return 0
        try:
            return self._decrypt(len(into), into)
        except ssl.SSLWantReadError:
            return None

    def _flush(self) -> None:
        if self._goes.pending:
            self._send_all(memoryview(self._goes.read()))

    def _refill(self) -> int:
        count = self._receive_some(self._raw)
        self._came.write(self._raw[:count])
        return count
