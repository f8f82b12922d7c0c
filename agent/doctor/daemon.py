"""The daemon, as it speaks of itself; and what a notice would cost at the rate it has measured."""

from collections.abc import Mapping
from typing import Any, Final

from agent.doctor.finding import Finding, green, red, unknown, yellow
from agent.doctor.http import NoAnswer, status_of
from agent.errors import AgentError
from agent.settings import Mode, Settings

DAEMON, PORT, COST, MODE = "daemon", "metrics port", "next notice", "mode"

WINDOW: Final = 120.0
"""Seconds that a Spot notice gives at best: the shortest there is for most nodes."""

Status = Mapping[str, Any]


def look_at_mode(settings: Settings) -> Finding:
    said = f"{settings.mode}, from {settings.origins.get('mode', 'default')}"
    if settings.mode is Mode.OBSERVE:
        return yellow(MODE, f"{said}: a notice would be recorded, nothing done", 'set mode = "act" when all is well')
    if settings.mode is Mode.SAVE_ONLY:
        return green(MODE, f"{said}: Slurm is left alone")
    return green(MODE, said)


def look_at_daemon(status: Status | AgentError) -> Finding:
    """`status` is its status document, or why there is none."""
    if isinstance(status, AgentError):
        return red(DAEMON, f"{status.subject}: {status.detail}: no notice would be seen", status.hint)
    said = f"{status.get('version', '')}, {status.get('state', 'unknown')}"
    off = [name for name, known in (status.get("capabilities") or {}).items() if known.get("on") is False]
    troubles = [str(one.get("what", "")) for one in status.get("trouble") or ()]
    wrong = [f"{name} is off" for name in off] + troubles
    if wrong:
        return yellow(DAEMON, f"{said}; {'; '.join(wrong)}", "hpc-agent status")
    return green(DAEMON, said)


async def look_at_port(listen: str) -> Finding:
    """`listen` is `ADDRESS:PORT` as the setting has it, "" for no port."""
    if not listen:
        return green(PORT, "off: http.listen is empty")
    host, _, port = listen.rpartition(":")
    try:
        status = await status_of(_reachable(host.strip("[]")), int(port), "/healthz")
    except NoAnswer as error:
        return yellow(PORT, f"{error.subject}: {error.detail}", "is the daemon running, and the port its own?")
    if status == 200:
        return green(PORT, f"{listen} answers, healthy")
    return yellow(PORT, f"{listen} answers with HTTP status {status}", f"curl http://127.0.0.1:{port}/healthz")


def _reachable(host: str) -> str:
    """Return where a socket that listens at `host` is reached from this machine."""
    return "127.0.0.1" if host in {"", "::", "0.0.0.0"} else host  # noqa: S104 - compared with, not bound to


def look_at_cost(status: Status | AgentError, *, safety_margin: float) -> Finding:
    """What saving the scratch would take now, beside the window of a Spot notice."""
    if isinstance(status, AgentError):
        return unknown(COST, "the daemon knows, and does not answer")
    seconds = status.get("evacuation_estimate_seconds")
    if not isinstance(seconds, int | float):
        return unknown(COST, "nobody has looked at the scratch yet")
    said = f"saving would take {seconds:.0f} s{_at(status)}; a Spot notice leaves {WINDOW - safety_margin:.0f} s"
    layers = (status.get("container_layers") or {}).get("paths")
    said += f"; container images are left out: {', '.join(layers)}" if layers else ""
    if seconds > WINDOW - safety_margin:
        return yellow(COST, said, "what does not fit is left behind: scratch.exclude, or save ahead")
    return green(COST, said)


def _at(status: Status) -> str:
    unsaved = status.get("unsaved") or {}
    rate = unsaved.get("bytes_per_second")
    if not rate:
        return ""
    return f" at {rate / 1e6:.0f} MB/s" + (
        "" if unsaved.get("rate_is_measured") else " (assumed: none was measured yet)"
    )
