"""The status document as text. Pure."""

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, Final

from agent.cli.output import size, span, unwalked
from agent.clock import parse_stamp

Document = Mapping[str, Any]

WIDTH: Final = 24
DRAINS: Final = {
    "none": "not drained",
    "ours": "drained by hpc-agent",
    "theirs": "drained by somebody else, left alone",
}


def glance(status: Document, now: datetime) -> str:
    """Return the lines for a status document; `now` is what ages are counted from."""
    return "\n".join((_headline(status), *(f"  {name:<11} {text}" for name, text in _rows(status, now))))


def _headline(status: Document) -> str:
    parts = [str(status.get("state", "unknown")).upper()]
    left = status.get("seconds_left")
    if left is not None:
        parts.append(f"{span(left)} left" if left >= 0 else f"{span(-left)} past the deadline")
    if status.get("outcome"):
        parts.append(str(status["outcome"]))
    mode = status.get("mode", "act")
    if mode != "act":
        parts.append(f"mode {mode}")
    return "  ".join(parts)


def _rows(status: Document, now: datetime) -> Iterator[tuple[str, str]]:
    yield "node", _node(status.get("node") or {})
    notices = status.get("notices") or ()
    yield from (("notice", _notice(notice)) for notice in notices)
    if not notices:
        yield "notice", "none"
    yield "drain", DRAINS.get(str(status.get("drain")), "not known")
    if status.get("unsaved") and status.get("state") == "watching":
        yield "estimate", _estimate(status)
    if (status.get("container_layers") or {}).get("paths"):
        yield "left out", _layers(status["container_layers"])
    if status.get("progress"):
        yield from _progress_rows(status["progress"])
    yield "checkpoint", _checkpoint(status["checkpoint"], now) if status.get("checkpoint") else "none"
    yield from _what_is_wrong(status, now)
    yield "agent", f"{status.get('version', '')}, running for {span(status.get('uptime_seconds') or 0)}"


def _what_is_wrong(status: Document, now: datetime) -> Iterator[tuple[str, str]]:
    yield from (("withheld", str(what)) for what in status.get("withheld") or ())
    off = {f"{name}: {_off(known)}": known for name, known in status.get("capabilities", {}).items() if not known["on"]}
    for text, known in off.items():
        yield from _with_hint("off", text, known)
    for trouble in status.get("trouble") or ():
        if trouble["what"] not in off:
            yield from _with_hint("trouble", f"{trouble['what']} (for {_age(trouble.get('since'), now)})", trouble)


def _off(known: Document) -> str:
    return str(known.get("detail") or ("not known yet" if known["on"] is None else "not there"))


def _with_hint(name: str, text: str, about: Document) -> Iterator[tuple[str, str]]:
    yield name, text
    if about.get("hint"):
        yield "", f"-> {about['hint']}"


def _progress_rows(progress: Document) -> Iterator[tuple[str, str]]:
    yield "progress", _progress(progress)
    if progress.get("waiting"):
        yield "waiting", str(progress["waiting"])


def _node(node: Document) -> str:
    machine = (node.get("instance_id"), node.get("instance_type"), node.get("life_cycle"), node.get("zone"))
    return "  ".join(filter(None, (node.get("name"), f"({node['cluster']})" if node.get("cluster") else "", *machine)))


def _notice(notice: Document) -> str:
    if notice.get("stale"):
        return f"{notice['kind']}, was for {_clock(notice['ends_at'])}: long past, not acted on"
    return f"{notice['kind']} at {_clock(notice['ends_at'])}"


def _progress(progress: Document) -> str:
    total, done = progress["bytes_total"], progress["bytes_done"]
    share = done / total if total else float(bool(progress.get("walked")))
    filled = int(share * WIDTH)
    text = f"[{'#' * filled}{'-' * (WIDTH - filled)}] {int(share * 100)} %  {size(done)} of {size(total)}"
    text += f", {progress['files_done']:,} of {progress['files_total']:,} files"
    if not progress.get("walked"):
        text += " found so far"
    rate = progress.get("bytes_per_second")
    return f"{text}, {rate / 1e6:.0f} MB/s" if rate else text


def _checkpoint(checkpoint: Document, now: datetime) -> str:
    text = f"{checkpoint['id']}  {'complete' if checkpoint['complete'] else 'PARTIAL'}"
    text += f", {checkpoint['files']:,} files, {size(checkpoint['bytes'])}, {_age(checkpoint['created_at'], now)} ago"
    if checkpoint.get("left_files"):
        text += f"; left behind: {checkpoint['left_files']:,} files, {size(checkpoint['left_bytes'])}"
    if checkpoint.get("seen_files") is not None:
        text += f"; {unwalked(checkpoint['seen_files'])}"
    return f"{text}; changed while read: {checkpoint['torn']:,} files" if checkpoint.get("torn") else text


def _estimate(status: Document) -> str:
    unsaved, ahead = status["unsaved"], status.get("ahead") or {}
    text = f"a notice now would cost about {span(status['evacuation_estimate_seconds'])}"
    text += f" ({size(unsaved['bytes'])} unsaved, looked {span(unsaved['looked_seconds_ago'])} ago"
    text += ")" if unsaved["rate_is_measured"] else f"; {unsaved['bytes_per_second'] / 1e6:.0f} MB/s assumed)"
    return f"{text}; {size(ahead['bytes_today'])} saved ahead today" if ahead.get("bytes_today") else text


def _layers(layers: Document) -> str:
    known = "" if layers["bytes"] is None else f" ({size(layers['bytes'])})"
    return f"container images in {', '.join(layers['paths'])}{known}"


def _clock(text: str) -> str:
    return f"{parse_stamp(text):%Y-%m-%d %H:%M:%S} UTC"


def _age(text: str | None, now: datetime) -> str:
    return span((now - parse_stamp(text)).total_seconds()) if text else "an unknown time"
