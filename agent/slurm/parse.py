"""Reads what scontrol prints. Formats as in src/api/node_info.c of Slurm 22.05 to 25.11."""

import re
from collections.abc import Iterator
from itertools import pairwise

from agent.model.drain import NodeState

SUFFIXES = {"*": "NOT_RESPONDING", "~": "POWERED_DOWN", "#": "POWERING_UP", "%": "POWERING_DOWN"}
"""What some versions and sinfo put behind the base state instead of a flag."""

_NAME = re.compile(r"NodeName=(\S+) ")
_STATE = re.compile(r" State=(\S+)")
_PARTITIONS = re.compile(r" Partitions=([A-Za-z0-9_.,@+-]+) ")
_INSTANCE = re.compile(r" InstanceId=(\S+)")
# All that can follow a reason, in this order. Comment and Extra are free text, so the first of these ends the reason.
_LATER = r"(?:Comment|Extra|InstanceId|InstanceType|ReservationName|TLSCertTokenSet|Topology|Parameters)="
_TAIL = re.compile(rf" (?:Reason=|{_LATER})")
_SIGNED = re.compile(rf"(.*?) \[([^\]\s]+)@\d{{4}}-\d\d-\d\dT\d\d:\d\d:\d\d\](?=\Z| {{8}}| {_LATER})(.*)", re.DOTALL)
_NEXT_LINE = " " * 8
_CONFIG = re.compile(r"(\S+)\s*= (.*)")


def node_states(text: str) -> Iterator[NodeState]:
    """Yield the nodes of `scontrol show node -o`, one or more.

    Raises ValueError for a record without name or state: an answer we don't understand says nothing.
    """
    starts = [match.start() for match in re.finditer(r"^NodeName=", text, re.MULTILINE)]
    for start, end in pairwise([*starts, len(text)]):
        yield node_state(text[start:end])


def node_state(record: str) -> NodeState:
    """Read one record of `scontrol show node -o`. Raises ValueError when it has no name or no state."""
    record = record.rstrip("\n")
    name, state = _NAME.match(record), _STATE.search(record)
    if name is None or state is None:
        raise ValueError(f"not a node record: {record[:80]!r}")
    base, flags = _split(state[1])
    reason, reason_by = _reason(record[state.end() :])
    instances = _INSTANCE.findall(record)
    partitions = _PARTITIONS.search(record)
    return NodeState(
        name=name[1],
        base=base,
        flags=flags,
        reason=reason,
        reason_by=reason_by,
        instance_id=instances[-1] if instances else "",
        partitions=tuple(partitions[1].split(",")) if partitions else (),
    )


def config(text: str) -> dict[str, str]:
    """Read `scontrol show config`; an unset value, `(null)`, is "". `SlurmctldHost[0]` keeps its index."""
    found = (_CONFIG.fullmatch(line.rstrip()) for line in text.splitlines())
    return {match[1]: "" if match[2] == "(null)" else match[2] for match in found if match}


def config_seconds(value: str) -> float | None:
    """Read a time of the configuration, `30 sec`, as seconds. None: not set (65534 is Slurm's NO_VAL) or infinite."""
    match = re.fullmatch(r"(\d+)(?: sec)?", value)
    return float(match[1]) if match and match[1] != "65534" else None


def _split(state: str) -> tuple[str, frozenset[str]]:
    """Take `IDLE*+DRAIN` apart."""
    first, *flags = state.upper().split("+")
    base = first.rstrip("".join(SUFFIXES))
    return base, frozenset(flags) | {SUFFIXES[mark] for mark in first[len(base) :]}


def _reason(rest: str) -> tuple[str, str]:
    """Find the reason and who gave it; the lines of a longer reason are joined by newlines again."""
    tail = _TAIL.search(rest)
    if tail is None or not tail[0].endswith("Reason="):
        return "", ""
    text = rest[tail.end() :]
    signed = _SIGNED.fullmatch(text)
    if signed is None:
        return re.split(rf" {_LATER}", text, maxsplit=1)[0], ""
    first, by, more = signed.groups()
    if not more.startswith(_NEXT_LINE):
        return first, by
    lines = re.split(rf" {_LATER}", more, maxsplit=1)[0].split(_NEXT_LINE)[1:]
    return "\n".join([first, *lines]), by
