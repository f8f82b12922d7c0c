"""Drives an embedded IMDS that runs as a process. Synchronous and standard library only: for tests and the demo."""

import json
import socket
import time
from datetime import datetime
from pathlib import Path
from typing import Any

from agent.clock import stamp
from agent.errors import PermanentError, TransientError


class ImdsControl:
    """Each call is one connection to the socket at `path`. Every answer has "mono" (the monotonic clock) and "wall"."""

    def __init__(self, path: Path, *, seconds: float = 5.0) -> None:
        self._path = path
        self._seconds = seconds

    def wait(self, seconds: float = 5.0) -> None:
        """Return as soon as it answers. Raises TransientError when it does not within `seconds`."""
        until = time.monotonic() + seconds
        while True:
            try:
                self.log()
            except TransientError:
                if time.monotonic() > until:
                    raise
                time.sleep(0.02)
            else:
                return

    def interrupt(self, action: str = "terminate", at: datetime | None = None) -> dict[str, Any]:
        """Show the Spot notice for `at`, two minutes from now if not given; "mono" is when it appeared."""
        return self._do("interrupt", action=action, at=None if at is None else stamp(at))

    def withdraw(self) -> dict[str, Any]:
        return self._do("withdraw")

    def fault(self, kind: str | None, *, below: str = "") -> dict[str, Any]:
        """Be faulty (a value of agent.demo.imds.Fault), or well again."""
        return self._do("fault", kind=kind, below=below)

    def set(self, path: str, value: str | None) -> dict[str, Any]:
        """Put `value` at `path` below /latest/; None takes it away."""
        return self._do("set", path=path, value=value)

    def skew(self, seconds: float) -> dict[str, Any]:
        return self._do("skew", seconds=seconds)

    def credentials(self, access_key: str, secret: str, token: str) -> dict[str, Any]:
        return self._do("credentials", access_key=access_key, secret=secret, token=token)

    def forget_tokens(self) -> dict[str, Any]:
        return self._do("forget-tokens")

    def log(self) -> list[dict[str, Any]]:
        """Return the last requests, oldest first: at, mono, method, path, status."""
        log: list[dict[str, Any]] = self._do("log")["log"]
        return log

    def _do(self, command: str, **details: object) -> dict[str, Any]:
        request = json.dumps({"do": command, **details}).encode() + b"\n"
        try:
            with socket.socket(socket.AF_UNIX) as line:
                line.settimeout(self._seconds)
                line.connect(str(self._path))
                line.sendall(request)
                text = line.makefile("rb").readline()
        except OSError as error:
            raise TransientError(command, str(self._path), str(error)) from error
        if not text.endswith(b"\n"):
            raise TransientError(command, str(self._path), "no answer")
        reply: dict[str, Any] = json.loads(text)
        if not reply["ok"]:
            raise PermanentError(command, str(self._path), reply["error"])
        return reply
