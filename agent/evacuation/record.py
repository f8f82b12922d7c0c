"""A journal record as JSON: the event for people, the resulting state for the next start.

The state is written whole and with a schema number, so that another version's arrows can't replay it into another
state.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, fields
from datetime import datetime
from typing import Any, Final

from agent.clock import parse_stamp, stamp
from agent.errors import PermanentError
from agent.evacuation.events import Event
from agent.evacuation.jobs import Dealt, Held
from agent.evacuation.phases import Phase
from agent.evacuation.policy import DEFAULTS, Policy
from agent.evacuation.state import Effects, Evacuation, Saved, Trouble
from agent.model.checkpoint import CheckpointId, Left, Totals
from agent.model.drain import Drain
from agent.model.notice import Notice, NoticeKind
from agent.value import value

SCHEMA: Final = 2

Json = dict[str, Any]


class RecordInvalid(PermanentError):
    """A record is not one of this version, or damaged."""


@value
class Record:
    """One step of the agent: event in, state after."""

    number: int
    event: Event
    state: Evacuation


def event_document(event: Event) -> Json:
    """Return an event as JSON data, its type under `type`."""
    return {"type": type(event).__name__, **{f.name: _plain(getattr(event, f.name)) for f in fields(event)}}


def state_document(state: Evacuation) -> Json:
    """Return a state as JSON data; `state_of` reads it back."""
    return {
        "phase": state.phase,
        "at": state.at,
        "notices": _notices(state.notices),
        "spent": _notices(state.spent),
        "led": sorted(state.led),
        "estimate": state.estimate,
        "drain": state.drain,
        "checkpoint": state.checkpoint,
        "began_at": None if state.began_at is None else stamp(state.began_at),
        "entered": {str(phase): at for phase, at in state.entered.items()},
        "saved": None if state.saved is None else saved_document(state.saved),
        "trouble": {
            work: {"what": t.what, "hint": t.hint, "since": stamp(t.since)} for work, t in state.trouble.items()
        },
        "withheld": dict(state.withheld),
        "jobs": None if state.jobs is None else [asdict(job) for job in state.jobs.values()],
        "copied": state.copied,
        "stop_seconds": state.stop_seconds,
        "delta_seconds": state.delta_seconds,
    }


def state_of(document: Json, *, effects: Effects, policy: Policy = DEFAULTS) -> Evacuation:
    """Return the state that `state_document` wrote.

    The effects and the policy are today's: the operator may have changed them. Raises RecordInvalid.
    """
    try:
        return Evacuation(
            effects=effects,
            policy=policy,
            phase=Phase(document["phase"]),
            at=float(document["at"]),
            notices=frozenset(notice_of(notice) for notice in document["notices"]),
            spent=frozenset(notice_of(notice) for notice in document["spent"]),
            led=frozenset(str(id_) for id_ in document["led"]),
            estimate=float(document["estimate"]),
            drain=None if document["drain"] is None else Drain(document["drain"]),
            checkpoint=None if document["checkpoint"] is None else CheckpointId(document["checkpoint"]),
            began_at=None if document["began_at"] is None else parse_stamp(document["began_at"]),
            entered={Phase(phase): float(at) for phase, at in document["entered"].items()},
            saved=None if document["saved"] is None else saved_of(document["saved"]),
            trouble={
                work: Trouble(what=t["what"], hint=t["hint"], since=parse_stamp(t["since"]))
                for work, t in document["trouble"].items()
            },
            withheld=dict(document["withheld"]),
            jobs=None if document["jobs"] is None else {job["ref"]: held_of(job) for job in document["jobs"]},
            copied=bool(document["copied"]),
            stop_seconds=_seconds(document["stop_seconds"]),
            delta_seconds=_seconds(document["delta_seconds"]),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise RecordInvalid("read", "journal record", repr(error)) from error


def _notices(notices: Iterable[Notice]) -> list[Json]:
    kept = ({**notice_document(notice), "lasts": notice.lasts} for notice in notices)
    return sorted(kept, key=lambda notice: str(notice["id"]))


def held_of(document: Json) -> Held:
    return Held(**{**document, "dealt": Dealt(document["dealt"])})


def _seconds(value: float | None) -> float | None:
    return None if value is None else float(value)


def notice_document(notice: Notice) -> Json:
    """Return a notice as JSON data; `notice_of` reads it back."""
    return {
        "id": notice.id,
        "kind": notice.kind,
        "ends_at": stamp(notice.ends_at),
        "due": notice.due,
        "seen_at": stamp(notice.seen_at),
        "source": notice.source,
        "stale": notice.stale,
        "code": notice.code,
    }


def notice_of(document: Json) -> Notice:
    return Notice(
        id=str(document["id"]),
        kind=NoticeKind(document["kind"]),
        ends_at=parse_stamp(document["ends_at"]),
        due=float(document["due"]),
        seen_at=parse_stamp(document["seen_at"]),
        source=str(document["source"]),
        stale=bool(document["stale"]),
        code=str(document["code"]),
        lasts=float(document.get("lasts", 0.0)),  # only in the journal, and not in that of 0.1.0
    )


def saved_document(saved: Saved) -> Json:
    """Return what was saved as JSON data; `saved_of` reads it back."""
    return {
        "checkpoint": saved.checkpoint,
        "n": saved.n,
        "key": saved.key,
        "digest": saved.digest,
        "complete": saved.complete,
        "created_at": stamp(saved.created_at),
        "totals": _plain(saved.totals),
        "left": _plain(saved.left),
    }


def saved_of(document: Json) -> Saved:
    return Saved(
        checkpoint=CheckpointId(document["checkpoint"]),
        n=int(document["n"]),
        key=str(document["key"]),
        digest=str(document["digest"]),
        complete=bool(document["complete"]),
        created_at=parse_stamp(document["created_at"]),
        totals=Totals(**document["totals"]),
        left=Left(**{**document["left"], "paths": tuple(document["left"]["paths"])}),
    )


def _plain(value: object) -> Any:
    for kind, write in WRITERS:
        if isinstance(value, kind):
            return write(value)
    return value


WRITERS: Final[Sequence[tuple[type | tuple[type, ...], Callable[[Any], Any]]]] = (
    (Notice, notice_document),
    (Saved, saved_document),
    (Held, asdict),
    ((Totals, Left), lambda value: {f.name: _plain(getattr(value, f.name)) for f in fields(value)}),
    (datetime, stamp),
    ((frozenset, tuple), lambda value: [_plain(item) for item in value]),
)
