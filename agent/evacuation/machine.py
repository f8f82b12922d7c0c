"""The decision: a state and an event give the next state. Nothing else changes a state."""

from collections.abc import Mapping
from dataclasses import replace
from functools import singledispatch

from agent.evacuation.events import (
    Committed,
    Done,
    Drained,
    Estimated,
    Event,
    Failed,
    Handled,
    Looked,
    Matured,
    Noticed,
    Planned,
    Started,
    TimeUp,
    Troubled,
    Withheld,
)
from agent.evacuation.jobs import seen
from agent.evacuation.phases import ARROWS, Cause, Phase
from agent.evacuation.state import Evacuation, Trouble
from agent.evacuation.work import EVACUATING, OWN, Work
from agent.model.drain import Drain


def advance(state: Evacuation, event: Event) -> Evacuation:
    """Return the state after `event`; an event that does not concern `state` changes nothing."""
    after = replace(_learn(event, state), at=max(state.at, event.at))
    cause = _cause(event, state, after)
    following = ARROWS[state.phase].get(cause) if cause else None
    return after if following is None else _enter(following, after, event)


@singledispatch
def _learn(event: Event, state: Evacuation) -> Evacuation:
    """Return `state` with what `event` tells, in the same phase."""
    raise TypeError(f"no such event in {state.phase}: {event!r}")


@_learn.register
def _(_event: TimeUp, state: Evacuation) -> Evacuation:
    return replace(state, spent=state.spent | state.standing) if state.phase is Phase.RESTING else state


@_learn.register
def _(_event: Started, state: Evacuation) -> Evacuation:
    # The drain is read again: it may have been lifted, or taken over, while nobody watched. What the copier had in its
    # memory is gone.
    return replace(state, drain=None, copied=False)


@_learn.register
def _(event: Noticed, state: Evacuation) -> Evacuation:
    others = frozenset(notice for notice in state.notices if notice.source != event.source)
    notices = others | event.notices
    led = state.led & {notice.id for notice in notices}
    after = replace(state, notices=notices, spent=state.spent & notices, led=led, at=event.at)
    return replace(after, drain=None) if _reason_is_out_of_date(state, after) else after


def _reason_is_out_of_date(before: Evacuation, after: Evacuation) -> bool:
    """Our drain's reason names the kind and the time of the ruling notice: it is written again when they change."""
    if before.drain is not Drain.OURS or before.ruling is None or after.ruling is None:
        return False
    return (before.ruling.kind, before.ruling.ends_at) != (after.ruling.kind, after.ruling.ends_at)


@_learn.register
def _(event: Drained, state: Evacuation) -> Evacuation:
    return replace(state, drain=event.drain)


@_learn.register
def _(event: Committed, state: Evacuation) -> Evacuation:
    known = state.saved
    is_said_again = known is not None and event.saved.key == known.key
    return state if is_said_again or event.saved.checkpoint != state.checkpoint else replace(state, saved=event.saved)


@_learn.register
def _(event: Estimated, state: Evacuation) -> Evacuation:
    # Not while leaving: a notice that has begun to stand must not stop standing because less is left to save.
    return replace(state, estimate=event.seconds) if state.phase is Phase.WATCHING else state


@_learn.register
def _(event: Looked, state: Evacuation) -> Evacuation:
    return replace(state, jobs=seen(state.jobs, event.jobs, event.requeued))


@_learn.register
def _(event: Handled, state: Evacuation) -> Evacuation:
    job = (state.jobs or {}).get(event.ref)
    if job is None:
        return state
    after = replace(job, dealt=event.dealt, why=event.why or job.why, signalled=job.signalled or event.signalled)
    return replace(state, jobs={**(state.jobs or {}), event.ref: after})


@_learn.register
def _(event: Planned, state: Evacuation) -> Evacuation:
    stop = state.stop_seconds if event.stop_seconds is None else event.stop_seconds
    delta = state.delta_seconds if event.delta_seconds is None else event.delta_seconds
    return replace(state, stop_seconds=stop, delta_seconds=delta)


@_learn.register
def _(_event: Matured, state: Evacuation) -> Evacuation:
    return state


@_learn.register
def _(event: Done, state: Evacuation) -> Evacuation:
    if event.work is Work.LEAD:
        state = replace(state, led=state.led | {notice.id for notice in state.leading})
    return replace(_settled(event.work, state), trouble=_without(state.trouble, event.work))


@_learn.register
def _(event: Failed, state: Evacuation) -> Evacuation:
    if event.work is Work.LEAD:
        state = replace(state, led=state.led | {notice.id for notice in state.leading})
    return replace(_settled(event.work, state), trouble=_with(state.trouble, event))


def _settled(work: Work, state: Evacuation) -> Evacuation:
    """Return `state` once a piece of work has ended, well or not."""
    if work is Work.DRAIN and state.drain is None:
        return replace(state, drain=Drain.NONE)
    return replace(state, copied=True) if work is Work.COPY else state


@_learn.register
def _(event: Troubled, state: Evacuation) -> Evacuation:
    trouble = _with(state.trouble, event) if event.what else _without(state.trouble, event.work)
    return replace(state, trouble=trouble)


@_learn.register
def _(event: Withheld, state: Evacuation) -> Evacuation:
    return replace(state, withheld={**state.withheld, event.work: event.what})


def _cause(event: Event, before: Evacuation, after: Evacuation) -> Cause | None:
    """Return why `event` ends the phase of `before`, None when it does not.

    Any event can be the first after the time to act on a notice: that goes before what the event itself says.
    """
    change = _change(before, after)
    if change in ARROWS[before.phase]:
        return change
    if before.phase is Phase.COPYING:
        return _end_of_copying(event, after)
    match event:
        case Started():
            return Cause.RESTARTED
        case TimeUp():
            return Cause.TIME_UP
        case Done() | Failed() if event.work is OWN.get(before.phase):
            return Cause.DONE if isinstance(event, Done) else Cause.FAILED
    return None


def _end_of_copying(event: Event, after: Evacuation) -> Cause | None:
    """While jobs run that have to be stopped, a copy that is through waits for the time to stop them, if it has one."""
    match event:
        case TimeUp():
            return Cause.STOP if after.stops else Cause.TIME_UP
        case Failed() if event.work is Work.COPY and not after.stops:
            return Cause.FAILED
    if not after.copied:
        return None
    if not after.stops:
        return Cause.DONE
    return Cause.STOP if after.hurries else None


def _change(before: Evacuation, after: Evacuation) -> Cause | None:
    """Go by the phase, not by what stood: a start may have brought a policy for which other notices stand."""
    is_leaving = before.phase in EVACUATING
    if is_leaving and not after.standing:
        return Cause.CLEAR
    if before.standing and after.saves and not before.saves:
        return Cause.WORSE
    known = {notice.id for notice in before.standing} if is_leaving else set()
    return Cause.NOTICE if any(notice.id not in known for notice in after.standing) else None


def _enter(phase: Phase, state: Evacuation, event: Event) -> Evacuation:
    entered = {**state.entered, phase: event.at}
    if phase is Phase.DRAINING:
        return _begin(state, event)
    if phase is Phase.WATCHING:
        return replace(state, phase=phase, entered={phase: event.at})
    if phase is Phase.DELTA and state.saved is not None:
        # Jobs have written since: until the last delta is in a head, none holds all there is.
        state = replace(state, saved=replace(state.saved, complete=False))
    return replace(state, phase=phase, entered=entered)


def _begin(state: Evacuation, event: Event) -> Evacuation:
    """Return a new evacuation of the same node; what the last one saved is its own affair."""
    return Evacuation(
        effects=state.effects,
        policy=state.policy,
        phase=Phase.DRAINING,
        at=state.at,
        notices=state.notices,
        spent=state.spent,
        led=state.led,
        estimate=state.estimate,
        checkpoint=event.fresh,
        began_at=event.wall,
        entered={Phase.DRAINING: event.at},
    )


def _with(trouble: Mapping[str, Trouble], event: Failed | Troubled) -> Mapping[str, Trouble]:
    known = trouble.get(event.work)
    if known is not None and known.what == event.what:
        return trouble
    since = event.wall if known is None else known.since
    return {**trouble, event.work: Trouble(what=event.what, hint=event.hint, since=since)}


def _without(trouble: Mapping[str, Trouble], work: Work) -> Mapping[str, Trouble]:
    return {name: known for name, known in trouble.items() if name != work}
