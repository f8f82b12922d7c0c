"""The record an evacuation leaves in S3: that it began, and what it came to (P10; docs/format.md)."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any

from agent.clock import stamp
from agent.evacuation.record import notice_document
from agent.evacuation.state import Evacuation
from agent.model.node import Node


def begun_document(state: Evacuation, node: Node) -> dict[str, Any]:
    """Return the record that an evacuation began."""
    return {
        "schema": 1,
        "format": "hpc-agent begun",
        "at": None if state.began_at is None else stamp(state.began_at),
        "node": node.name,
        "cluster": node.cluster,
        "instance_id": node.instance_id,
        "boot_id": node.boot_id,
        "writer": node.writer,
        "notices": sorted((notice_document(notice) for notice in state.notices), key=lambda n: str(n["id"])),
        "checkpoint": state.checkpoint,
    }


def place_of(state: Evacuation, node: Node) -> Any:
    """Return where the records of an evacuation are, as the keys want it."""
    return {"cluster": node.cluster, "writer": node.writer, "at": state.began_at}


def outcome_document(
    state: Evacuation,
    node: Node,
    *,
    ended_at: datetime,
    now: float,
    jobs: Sequence[Mapping[str, Any]] = (),
    trouble: Sequence[str] = (),
) -> dict[str, Any]:
    """Return the record of how an evacuation ended. `now` is monotonic; `trouble` is what `state` does not know yet."""
    saved, ruling, began = state.saved, state.ruling, state.began
    entered = sorted(state.entered.items(), key=lambda item: item[1])
    ends = [at for _, at in entered[1:]] + [now]
    return {
        **begun_document(state, node),
        "format": "hpc-agent outcome",
        "ended_at": stamp(ended_at),
        "outcome": state.outcome,
        "head": None if saved is None else {"key": saved.key, "digest": saved.digest},
        "totals": None if saved is None else asdict(saved.totals),
        "left": None if saved is None else asdict(saved.left),
        "trouble": [*(one.what for one in state.trouble.values()), *trouble],
        "jobs": list(jobs),
        "drain": state.drain,
        "seconds": {phase: round(end - at, 3) for (phase, at), end in zip(entered, ends, strict=True)},
        "window": None if ruling is None or began is None else round(ruling.due - began, 3),
    }
