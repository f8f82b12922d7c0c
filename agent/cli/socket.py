"""Asks the daemon: one JSON line over its unix socket, one or more back. Standard library only, blocking."""

import json
import os
import socket
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from agent.cli.exits import Exit
from agent.errors import AgentError, IntegrityMismatch, NotFound, PermanentError, SettingsInvalid, TransientError

FILE: Final = Path("/etc/hpc-agent/config.toml")
SOCKET: Final = "/run/hpc-agent/agent.sock"
VARIABLE: Final = "HPC_AGENT_STATE__SOCKET"
LONGEST: Final = 4 << 20
"""Bytes of an answer."""
CONNECTING: Final = 5.0
"""Seconds to wait in line for a daemon that many ask at once."""

Document = dict[str, Any]


class DaemonNotRunning(TransientError):
    """Nobody serves the control socket."""

    exit_code = Exit.NOT_RUNNING


class DaemonSilent(TransientError):
    """The daemon serves the socket and does not answer, or nothing one could read."""


class DaemonRefused(PermanentError):
    """The daemon says no."""


class DaemonIncomplete(PermanentError):
    """The daemon did only a part of it."""

    exit_code = Exit.INCOMPLETE


_REFUSALS: Mapping[object, type[AgentError]] = {
    Exit.USAGE: SettingsInvalid,
    Exit.INCOMPLETE: DaemonIncomplete,
    Exit.NOT_FOUND: NotFound,
    Exit.MISMATCH: IntegrityMismatch,
}


def place(config: Path | None, environ: Mapping[str, str]) -> str:
    """Return where the control socket is, as the settings say.

    Unlike `agent.settings` this looks at the one key: `status` works for every user and beside a broken file. Raises
    SettingsInvalid when the file that was asked for can't be read.
    """
    if environ.get(VARIABLE):
        return environ[VARIABLE]
    try:
        state = _read(config or FILE).get("state")
    except (OSError, ValueError) as error:
        if config is not None:
            raise SettingsInvalid("read", f"settings file {config}", str(error)) from error
        return SOCKET
    found = state.get("socket") if isinstance(state, dict) else None
    return found if isinstance(found, str) and found else SOCKET


def _read(file: Path) -> Document:
    text = file.read_text()
    import tomllib  # not before there is something to read: it takes as long as the rest of `status`

    return tomllib.loads(text)


def ask(path: str, request: Mapping[str, Any], *, seconds: float = 5.0) -> Document:
    """Return the daemon's one answer.

    Raises DaemonNotRunning, DaemonSilent when nothing comes for `seconds`, and what the daemon refuses with.
    """
    return next(follow(path, request, seconds=seconds))


def follow(path: str, request: Mapping[str, Any], *, seconds: float) -> Iterator[Document]:
    """Yield the daemon's answers. Raises as `ask`; the last answer has to be taken, or the daemon has gone."""
    with _connect(path, seconds) as connection, connection.makefile("rb") as lines:
        try:
            connection.sendall(json.dumps(request).encode() + b"\n")
            while line := lines.readline(LONGEST):
                yield _understood(line, path)
        except TimeoutError as error:
            raise DaemonSilent("ask", f"the daemon at {path}", f"no answer within {seconds:g} s") from error
        except OSError as error:
            raise _gone(path, error.strerror or repr(error)) from error
    raise _gone(path, "it closed the connection")


def _connect(path: str, seconds: float) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    # A socket with a time-out of Python's does not wait in line: it is sent away at once (EAGAIN, unix(7)).
    limit = struct.pack("ll", *divmod(int(min(seconds, CONNECTING) * 1e6), 1_000_000))
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)
    try:
        connection.connect(path)
    except PermissionError as error:
        connection.close()
        raise DaemonRefused("ask", f"the daemon at {path}", os.strerror(error.errno or 0)) from error
    except BlockingIOError as error:
        connection.close()
        raise DaemonSilent("ask", f"the daemon at {path}", "too many wait for it") from error
    except OSError as error:
        connection.close()
        raise DaemonNotRunning(
            "ask",
            f"the daemon at {path}",
            error.strerror or str(error),
            hint="it is not running: systemctl status hpc-agent",
        ) from error
    connection.settimeout(seconds)
    return connection


def _understood(line: bytes, path: str) -> Document:
    try:
        answer = json.loads(line)
    except ValueError as error:
        raise DaemonSilent("ask", f"the daemon at {path}", "its answer is no JSON") from error
    if not isinstance(answer, dict):
        raise DaemonSilent("ask", f"the daemon at {path}", "its answer is no JSON object")
    refusal = answer.get("error")
    if isinstance(refusal, dict):
        kind = _REFUSALS.get(refusal.get("exit"), DaemonRefused)
        raise kind("ask", "the daemon", str(refusal.get("message")), hint=str(refusal.get("hint") or ""))
    return answer


def _gone(path: str, detail: str) -> DaemonNotRunning:
    return DaemonNotRunning("ask", f"the daemon at {path}", detail, hint="it ended meanwhile: journalctl -u hpc-agent")
