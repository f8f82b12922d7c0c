"""The decision, as a conversation: events in, states out. No loop, no clock."""

import itertools
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.evacuation.events import (
    Committed,
    Done,
    Drained,
    Estimated,
    Failed,
    Looked,
    Matured,
    Noticed,
    Started,
    TimeUp,
    Troubled,
)
from agent.evacuation.jobs import Held
from agent.evacuation.machine import advance
from agent.evacuation.phases import ARROWS, NUMBERS, Cause, Phase
from agent.evacuation.plan import due, plan
from agent.evacuation.policy import DEFAULTS, Action, Rule, acts_at
from agent.evacuation.record import state_document, state_of
from agent.evacuation.state import Effects, Evacuation, Outcome, Saved
from agent.evacuation.work import COPYING, OWN, Work, wanted
from agent.model.checkpoint import CheckpointId, Left, Totals
from agent.model.drain import Drain
from agent.model.mode import Mode
from agent.model.notice import Notice, NoticeKind

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
ACT = Effects.of(Mode.ACT)
FRESH = CheckpointId("20261123T120000.000Z-1a2b3c4d")


def notice(name="spot", *, due=120.0, kind=NoticeKind.SPOT_TERMINATE, stale=False, source="spot"):
    return Notice(
        id=name,
        kind=kind,
        ends_at=NOON + timedelta(seconds=due),
        due=due,
        seen_at=NOON,
        source=source,
        stale=stale,
    )


def at(seconds):
    return {"at": float(seconds), "wall": NOON + timedelta(seconds=seconds), "fresh": FRESH}


def noticed(*notices, when=0.0, source="spot"):
    return Noticed(**at(when), source=source, notices=frozenset(notices))


def saved(*, complete=True):
    return Saved(
        checkpoint=FRESH,
        n=1,
        key="k",
        digest="d",
        complete=complete,
        created_at=NOON,
        totals=Totals(files=1),
        left=Left(),
    )


def told(*events, state=None):
    state = state or Evacuation(effects=ACT)
    for event in events:
        state = advance(state, event)
    return state


HELD = Held(ref="7", id=7, uid=4242, user="alice", life=0)


def evacuating(phase):
    """A state that reached `phase` the ordinary way."""
    return on_to(phase, told(noticed(notice())), *([HELD] if phase in {Phase.STOPPING, Phase.DELTA} else []))


def on_to(phase, state, *jobs):
    """The state after the ordinary way from `state` to `phase`, with these jobs on the node."""
    state = told(Looked(**at(0), jobs=jobs), state=state)
    while state.phase is not phase:
        end = TimeUp(**at(1)) if state.copied and state.stops else Done(**at(1), work=_work(state))
        state = advance(state, end)
    return state


def _work(state):
    return Work.COPY if state.phase in COPYING and not state.copied else OWN[state.phase]


def test_a_notice_drains_first():
    state = told(noticed(notice()))
    assert state.phase is Phase.DRAINING
    assert wanted(state) == {Work.DRAIN}
    assert state.checkpoint == FRESH


def test_every_phase_but_watching_and_resting_has_work_of_its_own():
    assert set(OWN) == set(Phase) - {Phase.WATCHING, Phase.RESTING}
    assert set(NUMBERS) == set(ARROWS) == set(Phase)
    assert len(set(NUMBERS.values())) == len(NUMBERS)


ENDS = [
    lambda phase: Done(**at(5), work=OWN[phase]),
    lambda phase: Failed(**at(5), work=OWN[phase], what="broken", hint=""),
    lambda phase: TimeUp(**at(5)),
]


@pytest.mark.parametrize("ends", list(itertools.product(ENDS, repeat=4)))
def test_whatever_fails_or_runs_out_of_time_the_evacuation_comes_to_rest(ends):
    state = told(noticed(notice()), Looked(**at(0), jobs=()))
    for end in ends:
        state = advance(state, end(state.phase))
    assert state.phase is Phase.RESTING


@pytest.mark.parametrize("first", ENDS)
def test_with_jobs_too_it_comes_to_rest_whatever_fails_or_runs_out_of_time(first):
    for ends in itertools.product(ENDS, repeat=5):
        state = told(noticed(notice()), Looked(**at(0), jobs=(HELD,)))
        for end in (first, *ends):
            before, state = state.phase, advance(state, end(state.phase))
            if before is Phase.COPYING is state.phase:  # jobs are stopped when it is time, not before
                state = advance(state, TimeUp(**at(5)))
                assert state.phase is Phase.STOPPING
        assert state.phase is Phase.RESTING


@pytest.mark.parametrize("jobs", [(HELD,), None])
def test_a_machine_that_is_shut_down_stops_its_jobs_as_soon_as_the_first_copy_is_through(jobs):
    """systemd, or EC2, may end it at any time: nothing is gained by waiting for the latest moment."""
    state = told(noticed(notice(due=150.0, kind=NoticeKind.SHUTDOWN)), TimeUp(**at(1)))
    if jobs:
        state = advance(state, Looked(**at(1), jobs=jobs))
    state = advance(state, Done(**at(3), work=Work.COPY))
    assert state.phase is Phase.STOPPING
    times = plan(state, safety_margin=15.0)
    assert times is not None
    assert times.stop_at == 3


def test_p6_a_drain_that_is_not_confirmed_goes_on_beside_the_copy():
    state = told(noticed(notice()), TimeUp(**at(1)))
    assert state.phase is Phase.COPYING
    assert wanted(state) == {Work.COPY, Work.DRAIN, Work.JOBS}
    assert wanted(advance(state, Drained(**at(2), drain=Drain.OURS))) == {Work.COPY, Work.JOBS}


def test_an_answer_to_another_phase_ends_nothing():
    state = evacuating(Phase.COPYING)
    assert advance(state, Done(**at(2), work=Work.COMMIT)).phase is Phase.COPYING


@pytest.mark.parametrize("phase", [Phase.DRAINING, Phase.COPYING, Phase.COMMITTING, Phase.RELEASING, Phase.RESTING])
def test_the_last_notice_withdrawn_returns_from_any_phase(phase):
    state = advance(evacuating(phase), noticed())
    assert state.phase is Phase.RETURNING
    assert wanted(state) == {Work.LIFT}
    assert advance(state, Done(**at(9), work=Work.LIFT)).phase is Phase.WATCHING


def test_of_two_notices_the_earlier_rules_and_the_other_does_when_it_goes():
    later = notice("event", due=900.0, source="events", kind=NoticeKind.SCHEDULED_EVENT)
    state = told(noticed(later, source="events"), noticed(notice()))
    assert state.ruling == notice()
    state = advance(state, noticed())
    assert state.phase is not Phase.RETURNING
    assert state.ruling == later


def test_a_changed_time_moves_the_deadline_and_keeps_the_phase():
    state = advance(evacuating(Phase.COPYING), noticed(notice(due=60.0)))
    assert state.phase is Phase.COPYING
    assert state.ruling.due == 60.0


def test_a_changed_time_has_the_reason_of_our_drain_written_again():
    state = told(noticed(notice()), Drained(**at(1), drain=Drain.OURS))
    assert Work.DRAIN in wanted(advance(state, noticed(notice(due=60.0))))
    theirs = told(noticed(notice()), Drained(**at(1), drain=Drain.THEIRS))
    assert advance(theirs, noticed(notice(due=60.0))).drain is Drain.THEIRS


def block_end(due, *, when=0.0):
    """An event: the end of the Capacity Block is at `due`; it is acted on ten minutes before."""
    end = notice("capacity-block:cr-1", due=due, kind=NoticeKind.CAPACITY_BLOCK_END, source="capacity-block")
    return noticed(end, when=when, source="capacity-block")


@pytest.mark.parametrize("phase", [phase for phase in Phase if Cause.CLEAR in ARROWS[phase]])
def test_an_end_that_moves_so_far_away_that_it_is_not_acted_on_yet_returns_from_any_phase(phase):
    state = told(block_end(120.0))
    state = on_to(phase, state, HELD)
    moved = told(block_end(86_400.0, when=2), state=state)
    assert moved.phase is Phase.RETURNING
    assert moved.ruling is None
    back = told(Done(**at(3), work=Work.LIFT), state=moved)
    assert (back.phase, back.next_act) == (Phase.WATCHING, 86_400.0 - 600)
    again = told(Matured(**at(86_400 - 600)), state=back)
    assert (again.phase, again.saved) == (Phase.DRAINING, None)


def test_an_end_that_moves_by_less_than_its_lead_keeps_the_evacuation():
    state = told(block_end(120.0), Drained(**at(1), drain=Drain.OURS), block_end(500.0, when=2))
    assert (state.phase, state.drain) == (Phase.DRAINING, None)
    assert state.ruling.due == 500.0


def test_p5_a_stale_notice_is_shown_and_not_acted_on():
    state = told(noticed(notice(stale=True)))
    assert state.phase is Phase.WATCHING
    assert len(state.notices) == 1


def test_a_machine_that_outlives_its_deadline_goes_back_and_does_not_loop():
    state = advance(evacuating(Phase.RESTING), TimeUp(**at(800)))
    assert state.phase is Phase.RETURNING
    state = told(Done(**at(801), work=Work.LIFT), noticed(notice()), Started(**at(802)), state=state)
    assert state.phase is Phase.RETURNING  # a start looks for a drain to lift; the spent notice starts nothing
    state = told(Done(**at(803), work=Work.LIFT), noticed(notice()), state=state)
    assert state.phase is Phase.WATCHING


def test_a_spent_notice_that_comes_with_a_new_time_is_new():
    state = advance(evacuating(Phase.RESTING), TimeUp(**at(800)))
    state = told(Done(**at(801), work=Work.LIFT), noticed(notice(due=1000.0)), state=state)
    assert state.phase is Phase.DRAINING


@pytest.mark.parametrize("phase", [Phase.COPYING, Phase.COMMITTING, Phase.RELEASING, Phase.RESTING])
def test_a_notice_that_takes_the_disk_begins_anew_what_was_only_a_drain_for_a_reboot(phase):
    reboot = replace(notice("reboot", kind=NoticeKind.SCHEDULED_EVENT, source="events"), code="system-reboot")
    state = on_to(phase, told(noticed(reboot, source="events")))
    assert not state.saves
    state = advance(state, noticed(notice(), when=2))
    assert state.phase is Phase.DRAINING
    assert state.saves


def test_a_second_notice_that_takes_the_disk_does_not_begin_a_copy_anew():
    state = advance(evacuating(Phase.RELEASING), noticed(notice("b", source="operator"), source="operator"))
    assert state.phase is Phase.RELEASING


def test_a_node_that_takes_longer_to_save_begins_earlier_at_the_end_of_its_block():
    block = notice("block", due=7200.0, kind=NoticeKind.CAPACITY_BLOCK_END, source="block")
    state = told(noticed(block, source="block"))
    assert state.next_act == 7200 - 600
    state = advance(state, Estimated(**at(10), seconds=1000.0))
    assert state.next_act == 7200 - 2400
    state = advance(state, Matured(**at(7200 - 2400)))
    assert state.phase is Phase.DRAINING
    # What stands does not stop standing because there is less to save.
    assert advance(state, Estimated(**at(7200 - 2300), seconds=100.0)).phase is Phase.DRAINING


@pytest.mark.parametrize(("estimate", "lead"), [(0, 600), (400, 600), (401, 1200), (800, 1200), (1000, 2400)])
def test_the_nodes_of_a_block_that_differ_in_what_they_hold_begin_together(estimate, lead):
    block = notice("block", due=72000.0, kind=NoticeKind.CAPACITY_BLOCK_END, source="block")
    assert acts_at(DEFAULTS, block, estimate=estimate) == 72000 - lead


def test_a_new_notice_at_rest_begins_another_evacuation():
    state = advance(evacuating(Phase.RESTING), noticed(notice("another", source="events"), source="events"))
    assert state.phase is Phase.DRAINING
    assert state.saved is None


def test_p7_a_restart_reads_the_drain_again_and_copies_again_what_the_copier_knew():
    state = told(Drained(**at(1), drain=Drain.OURS), Started(**at(2)), state=evacuating(Phase.COMMITTING))
    assert state.phase is Phase.COPYING
    assert wanted(state) == {Work.COPY, Work.DRAIN, Work.JOBS}


def test_the_window_of_an_event_is_kept_over_a_restart_and_missing_in_an_older_journal():
    event = replace(notice("reboot", kind=NoticeKind.SCHEDULED_EVENT, source="events"), lasts=7200.0)
    state = told(noticed(event, source="events"))
    document = state_document(state)
    assert state_of(document, effects=ACT).notices == {event}
    del document["notices"][0]["lasts"]
    assert state_of(document, effects=ACT).notices == {replace(event, lasts=0.0)}


REBALANCE = notice("rebalance", due=0.0, kind=NoticeKind.REBALANCE, source="rebalance")


def test_p7_a_notice_that_a_new_policy_evacuates_for_is_acted_on_by_the_next_start():
    watching = told(noticed(REBALANCE, source="rebalance"))
    assert watching.phase is Phase.WATCHING
    policy = {NoticeKind.REBALANCE: Rule(action=Action.EVACUATE)}
    assert advance(replace(watching, policy=policy), Started(**at(9))).phase is Phase.DRAINING


@pytest.mark.parametrize("phase", [Phase.COPYING, Phase.RESTING])
def test_p4_a_start_with_a_policy_that_ignores_the_notice_lifts_the_drain(phase):
    policy = {NoticeKind.SPOT_TERMINATE: Rule(action=Action.IGNORE)}
    state = advance(replace(evacuating(phase), policy=policy), Started(**at(9)))
    assert state.phase is Phase.RETURNING
    assert wanted(state) == {Work.LIFT}


def test_p7_a_start_without_a_notice_looks_for_a_drain_to_lift():
    assert wanted(told(Started(**at(0)))) == {Work.LIFT}


def test_p4_whose_drain_was_found_is_shown_on_while_watching():
    state = told(Started(**at(0)), Drained(**at(1), drain=Drain.THEIRS), Done(**at(1), work=Work.LIFT))
    assert state.phase is Phase.WATCHING
    assert state.drain is Drain.THEIRS
    assert told(noticed(notice()), state=state).drain is None  # an evacuation reads it again


def test_the_outcome_is_what_s3_acknowledged():
    state = evacuating(Phase.COPYING)
    assert state.outcome is Outcome.NOTHING
    assert advance(state, Committed(**at(3), saved=saved(complete=False))).outcome is Outcome.PARTIAL
    assert advance(state, Committed(**at(3), saved=saved())).outcome is Outcome.COMPLETE


def test_p10_a_head_from_before_the_jobs_were_stopped_does_not_hold_all_there_is():
    first = Committed(**at(1), saved=saved())
    state = on_to(Phase.DELTA, advance(on_to(Phase.COPYING, told(noticed(notice())), HELD), first), HELD)
    assert state.outcome is Outcome.PARTIAL
    state = advance(state, TimeUp(**at(2)))
    assert state.phase is Phase.COMMITTING
    assert advance(state, first).outcome is Outcome.PARTIAL, "the last delta got nowhere: the copier says its last head"
    assert advance(state, Committed(**at(3), saved=replace(saved(), n=2, key="k2"))).outcome is Outcome.COMPLETE


def test_a_head_of_another_checkpoint_is_not_this_evacuations_outcome():
    state = replace(evacuating(Phase.COPYING), checkpoint=CheckpointId("20261123T130000.000Z-00000000"))
    assert advance(state, Committed(**at(3), saved=saved())).saved is None


def test_trouble_is_one_line_for_each_work_and_goes_when_it_is_over():
    state = told(
        Troubled(**at(1), work=Work.DRAIN, what="no answer", hint="is slurmctld up?"),
        Troubled(**at(2), work=Work.DRAIN, what="refused", hint=""),
        state=evacuating(Phase.COPYING),
    )
    assert [t.what for t in state.trouble.values()] == ["refused"]
    assert state.trouble["drain"].since == NOON + timedelta(seconds=1)
    assert not advance(state, Troubled(**at(3), work=Work.DRAIN, what="", hint="")).trouble


def events():
    seconds = st.floats(0, 1000)
    works = st.sampled_from(Work)
    one = st.sampled_from([notice(), notice(due=60.0), notice(stale=True), notice("b", due=300.0)])
    return st.one_of(
        st.builds(lambda s, n: noticed(*n, when=s), seconds, st.frozensets(one, max_size=1)),
        st.builds(lambda s, n: noticed(*n, when=s, source="b"), seconds, st.just(())),
        st.builds(lambda s, w: Done(**at(s), work=w), seconds, works),
        st.builds(lambda s, w: Failed(**at(s), work=w, what="x", hint=""), seconds, works),
        st.builds(lambda s: TimeUp(**at(s)), seconds),
        st.builds(lambda s: Started(**at(s)), seconds),
        st.builds(lambda s, d: Drained(**at(s), drain=d), seconds, st.sampled_from(Drain)),
        st.builds(lambda s, c: Committed(**at(s), saved=saved(complete=c)), seconds, st.booleans()),
    )


@settings(max_examples=300, deadline=None)
@given(st.lists(events(), max_size=30))
def test_p7_any_story_cut_anywhere_and_read_back_goes_on_the_same(story):
    state = Evacuation(effects=ACT)
    for event in story:
        state = advance(state_of(state_document(state), effects=ACT), event)
        assert advance(state, event).phase is state.phase or not isinstance(event, Noticed)
        if state.phase in {Phase.DRAINING, Phase.COPYING, Phase.COMMITTING, Phase.RELEASING}:
            assert state.standing
            assert plan(state, safety_margin=15.0)
        if state.phase is Phase.WATCHING:
            assert due(state, safety_margin=15.0) is None
            assert not wanted(state)
