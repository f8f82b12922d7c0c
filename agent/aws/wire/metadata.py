"""IMDSv2 for those who only want a few answers, in a thread: agent/imds is for the daemon, which watches it.

EC2 User Guide, "Access instance metadata".
"""

import contextlib
from collections.abc import Iterator, Mapping
from typing import Final

from agent.aws.wire.body import Held
from agent.aws.wire.connection import Lost
from agent.aws.wire.cord import Cord
from agent.aws.wire.endpoint import at
from agent.aws.wire.line import Line, whole
from agent.aws.wire.message import Head
from agent.store.base import StoreUnavailable

ADDRESS: Final = "http://169.254.169.254"
_SECONDS: Final = 1.0
_TRIES: Final = 2
_LIFE: Final = {"x-aws-ec2-metadata-token-ttl-seconds": "60"}


class Metadata:
    """`address` is AWS_EC2_METADATA_SERVICE_ENDPOINT's, "" for the usual one."""

    def __init__(self, address: str = "") -> None:
        self._endpoint = at(address or ADDRESS, "/latest/")

    def get(self, path: str) -> str:
        """Return what is at `path` below /latest/, "" where nothing is. Raises StoreUnavailable."""
        tries = 0
        while True:
            tries += 1
            try:
                with contextlib.closing(Line(self._endpoint, None, _SECONDS)) as line:
                    token = self._ask(line, "PUT", "api/token", _LIFE)
                    return self._ask(line, "GET", path, {"x-aws-ec2-metadata-token": token})
            except Lost as error:
                if tries == _TRIES:
                    raise StoreUnavailable("ask IMDS for", path, error.detail) from error

    def _ask(self, line: Line, method: str, path: str, headers: Mapping[str, str]) -> str:
        complete = {"host": self._endpoint.authority, **Held(b"").headers, **headers}
        return line.ask(method, self._endpoint.base + path, complete, Held(b""), Cord(), _text)


def _text(head: Head, pieces: Iterator[memoryview]) -> str:
    body = whole(pieces).decode("latin-1").strip()
    if head.status == 404:
        return ""
    if head.status != 200:
        raise Lost(f"IMDS answered with HTTP status {head.status}")
    return body
