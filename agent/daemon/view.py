"""What `hpc-agent status` shows: the state and its surroundings as one document. Pure; the fields are a contract."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from datetime import datetime
from typing import Any, Final

from agent import __version__
from agent.clock import stamp
from agent.daemon.capabilities import Capability, Name
from agent.evacuation.estimate import Estimate
from agent.evacuation.jobs import Dealt
from agent.evacuation.phases import Phase
from agent.evacuation.plan import forecast, plan
from agent.evacuation.state import Evacuation, Saved, Trouble
from agent.evacuation.work import Work
from agent.model.drain import Drain
from agent.model.mode import Mode
from agent.model.node import Identity
from agent.model.notice import Notice
from agent.model.progress import Progress
from agent.notices.block import Block
from agent.value import value

SCHEMA: Final = 1

HIDDEN: Final = "root is told what"
PLAIN: Final = frozenset({Work.DRAIN, Work.LIFT})
"""Work whose trouble names nobody's files or wishes: everybody sees it."""

Json = dict[str, Any]


@value
class Ahead:
    """Saving ahead: what it does, or why it does nothing; container layers, which are left out of every copy."""

    why: str = ""
    bytes_today: int = 0
    layers: tuple[str, ...] = ()
    layer_bytes: int | None = None


@value
class Around:
    """What is shown beside the state. `saved` is the last head of any checkpoint of this life, manual ones included.

    To others than root nothing is shown that could hold a name of somebody's file, or what a job says of itself (P8).
    """

    mode: Mode
    identity: Identity | None
    name: str
    cluster: str
    boot_id: str
    writer: str
    capabilities: Mapping[Name, Capability]
    trouble: Sequence[Trouble]
    saved: Saved | None
    progress: Progress | None
    bytes_per_second: float
    safety_margin: float
    uptime: float
    is_root: bool = True
    trouble_ahead: Trouble | None = None
    estimate: Estimate | None = None
    ahead: Ahead = Ahead()
    block: Block | None = None
    lifecycle_target: str = ""
    standing_by: bool = False


def status_document(state: Evacuation, around: Around, *, now: float, wall: datetime) -> Json:
    """Return the status as docs/interfaces.md describes it. `now` is monotonic."""
    ruling = state.ruling
    shown = ruling or min(state.notices, key=lambda notice: (notice.due, notice.id), default=None)
    at_end = state.phase in {Phase.RELEASING, Phase.RESTING}
    return {
        "schema": SCHEMA,
        "version": __version__,
        "at": stamp(wall),
        "state": state.phase,
        "mode": around.mode,
        "node": _node(around),
        "notice": None if shown is None else _notice(shown, now),
        "notices": [_notice(n, now) for n in sorted(state.notices, key=lambda notice: (notice.due, notice.id))],
        "deadline": None if ruling is None else stamp(ruling.ends_at),
        "seconds_left": None if ruling is None else _seconds(ruling.due - now),
        "capacity_block": None if around.block is None else _block(around.block),
        "lifecycle_target": around.lifecycle_target,
        "standing_by": around.standing_by,
        "drain": state.drain or Drain.NONE,
        "drained_by_us": state.drain is Drain.OURS,
        "checkpoint": None if around.saved is None else _checkpoint(around.saved),
        "progress": None if around.progress is None else _progress(around.progress, around),
        "plan": _plan(state, around, now),
        "jobs": _jobs(state),
        "evacuation_estimate_seconds": None if around.estimate is None else _seconds(around.estimate.seconds),
        "unsaved": None if around.estimate is None else _unsaved(around.estimate, now),
        "ahead": {"why": around.ahead.why, "bytes_today": around.ahead.bytes_today},
        "container_layers": {"paths": list(around.ahead.layers), "bytes": around.ahead.layer_bytes},
        "outcome": state.outcome if at_end else None,
        "withheld": [what for _, what in sorted(state.withheld.items())],
        "capabilities": {name: _capability(known) for name, known in around.capabilities.items()},
        "trouble": [_trouble(one) for one in _troubles(state, around)],
        "uptime_seconds": _seconds(around.uptime),
    }


def _seconds(value: float) -> float:
    return round(value, 1)


def _node(around: Around) -> Json:
    identity = around.identity
    return {
        "name": around.name,
        "cluster": around.cluster,
        "instance_id": identity.instance_id if identity else "",
        "instance_type": identity.instance_type if identity else "",
        "life_cycle": identity.life_cycle if identity else "",
        "zone": identity.zone if identity else "",
        "boot_id": around.boot_id,
        "writer": around.writer,
    }


def _notice(notice: Notice, now: float) -> Json:
    return {
        "id": notice.id,
        "kind": notice.kind,
        "code": notice.code,
        "ends_at": stamp(notice.ends_at),
        "seconds_left": _seconds(notice.due - now),
        "stale": notice.stale,
        "source": notice.source,
    }


def _block(block: Block) -> Json:
    return {
        "reservation": block.reservation,
        "state": block.state,
        "ends_at": stamp(block.ends_at),
        "taken_at": stamp(block.taken_at),
    }


def _checkpoint(saved: Saved) -> Json:
    return {
        "id": saved.checkpoint,
        "n": saved.n,
        "key": saved.key,
        "digest": saved.digest,
        "complete": saved.complete,
        "created_at": stamp(saved.created_at),
        "files": saved.totals.files,
        "bytes": saved.totals.bytes,
        "left_files": saved.left.files,
        "left_bytes": saved.left.bytes,
        "seen_files": saved.left.seen,
        "torn": saved.totals.torn,
    }


def _progress(progress: Progress, around: Around) -> Json:
    waiting = HIDDEN if progress.waiting and not around.is_root else progress.waiting
    return {**asdict(progress), "waiting": waiting, "bytes_per_second": round(around.bytes_per_second)}


def _unsaved(known: Estimate, now: float) -> Json:
    return {
        "bytes": known.bytes,
        "files": known.files,
        "looked_seconds_ago": _seconds(now - known.at),
        "bytes_per_second": round(known.rate),
        "rate_is_measured": known.is_measured,
    }


def _plan(state: Evacuation, around: Around, now: float) -> Json | None:
    times = plan(state, safety_margin=around.safety_margin)
    if times is None or state.phase in {Phase.WATCHING, Phase.RETURNING}:
        return None
    left = _seconds(times.copy_until - now)
    expected = forecast(around.progress or Progress(), bytes_per_second=around.bytes_per_second, seconds=left)
    stop = _seconds(times.stop_at - now) if state.stops else None
    return {"copy_seconds_left": left, "stop_seconds_left": stop, **asdict(expected)}


def _jobs(state: Evacuation) -> Json | None:
    """How many jobs there are of each kind, no more: not every cluster shows its users each other's jobs."""
    if state.jobs is None:
        return None
    counts = Counter(job.dealt for job in state.jobs.values())
    return {dealt: counts[dealt] for dealt in Dealt}


def _capability(known: Capability) -> Json:
    return {"on": known.on, "detail": known.detail, "hint": known.hint}


def _troubles(state: Evacuation, around: Around) -> list[Trouble]:
    ours = dict(state.trouble)
    if around.trouble_ahead is not None:
        ours["ahead"] = around.trouble_ahead
    if not around.is_root:
        ours = {work: one if work in PLAIN else replace(one, what=f"{work}: {HIDDEN}") for work, one in ours.items()}
    return [*ours.values(), *around.trouble]


def _trouble(one: Trouble) -> Json:
    return {"what": one.what, "hint": one.hint, "since": stamp(one.since)}
