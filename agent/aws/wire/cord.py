"""What ties a request in a thread to its caller in the loop: the caller cuts it, and the thread comes back."""

from threading import Lock

from agent.aws.wire.connection import Connection, Lost


class Cord:
    """A request touches what its caller gave it only while the cord holds a connection."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._connection: Connection | None = None
        self._is_cut = False

    def hold(self, connection: Connection) -> None:
        """Tie the request to a connection. Raises Lost when the cord is cut."""
        with self._lock:
            if self._is_cut:
                raise Lost("its caller has gone")
            self._connection = connection

    def release(self) -> None:
        with self._lock:
            self._connection = None

    def cut(self) -> bool:
        """End the request; return whether it is at work, and has to be waited for."""
        with self._lock:
            self._is_cut = True
            if self._connection is None:
                return False
            self._connection.cut()
            return True
