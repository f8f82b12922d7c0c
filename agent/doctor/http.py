"""The status of one HTTP answer, for looks at ports where only that counts."""

import asyncio
import contextlib
import os

from agent.errors import TransientError


class NoAnswer(TransientError):
    """Nothing there speaks HTTP."""


async def status_of(host: str, port: int, path: str, *, seconds: float = 2.0) -> int:
    """Return the status of `GET path`. Raises NoAnswer."""
    where = f"{host}:{port}"
    try:
        async with asyncio.timeout(seconds):
            reader, writer = await asyncio.open_connection(host, port)
            with contextlib.closing(writer):
                writer.write(f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
                first = await reader.readline()
        return _status(first)
    except TimeoutError as error:
        raise NoAnswer("ask", where, f"no answer within {seconds:g} s") from error
    except OSError as error:
        raise NoAnswer("ask", where, os.strerror(error.errno) if error.errno else str(error)) from error
    except ValueError as error:
        raise NoAnswer("ask", where, "what answers does not speak HTTP") from error


def _status(line: bytes) -> int:
    version, status, *_ = line.split()
    if not version.startswith(b"HTTP/"):
        raise ValueError(f"not a status line: {line[:60]!r}")
    return int(status)
