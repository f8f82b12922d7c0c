"""The status document is a contract: its fields in every state."""

from datetime import UTC, datetime, timedelta

from agent.daemon.capabilities import Capability, Name
from agent.daemon.view import Around, status_document
from agent.evacuation.phases import Phase
from agent.evacuation.rate import Rate
from agent.evacuation.state import Effects, Evacuation, Saved, Trouble
from agent.model.checkpoint import CheckpointId, Left, Totals
from agent.model.drain import Drain
from agent.model.mode import Mode
from agent.model.node import Identity, InstanceId
from agent.model.notice import Notice, NoticeKind
from agent.model.progress import Progress

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
PROMISED = {"schema", "state", "notice", "deadline", "node", "drained_by_us", "checkpoint"}


def around(**parts):
    return Around(
        **{
            "mode": Mode.ACT,
            "identity": Identity(instance_id=InstanceId("i-1"), life_cycle="spot"),
            "name": "n1",
            "cluster": "lab-0badcafe",
            "boot_id": "b",
            "writer": "-",
            "capabilities": {Name.HTTP: Capability(on=False, detail="taken", hint="another port")},
            "trouble": (),
            "saved": None,
            "progress": None,
            "bytes_per_second": 0.0,
            "safety_margin": 15.0,
            "uptime": 3.14,
        }
        | parts
    )


def spot(*, stale=False):
    return Notice(
        id="spot:i-1",
        kind=NoticeKind.SPOT_TERMINATE,
        ends_at=NOON + timedelta(seconds=120),
        due=1120.0,
        seen_at=NOON,
        source="spot",
        stale=stale,
    )


def shown(state, **parts):
    return status_document(state, around(**parts), now=1020.0, wall=NOON)


def test_watching_has_every_promised_field_and_no_notice():
    document = shown(Evacuation(effects=Effects.of(Mode.ACT)))
    assert document.keys() >= PROMISED
    assert document["state"] == "watching"
    assert document["notice"] is document["deadline"] is document["plan"] is document["outcome"] is None
    assert document["capabilities"]["http"] == {"on": False, "detail": "taken", "hint": "another port"}


def test_an_evacuation_shows_time_left_and_whether_the_rest_fits():
    state = Evacuation(
        effects=Effects.of(Mode.ACT),
        phase=Phase.COPYING,
        notices=frozenset({spot()}),
        drain=Drain.OURS,
        entered={Phase.DRAINING: 1000.0, Phase.COPYING: 1001.0},
        trouble={"copy": Trouble(what="put: SlowDown", hint="wait", since=NOON)},
    )
    progress = Progress(files_total=10, bytes_total=1000, bytes_done=400)
    document = shown(state, progress=progress, bytes_per_second=5.0)
    assert document["seconds_left"] == 100.0
    assert document["drained_by_us"] is True
    assert document["plan"] == {
        "copy_seconds_left": 85.0,
        "stop_seconds_left": 69.9,
        "bytes_left": 600,
        "bytes_per_second": 5.0,
        "seconds_needed": 120.0,
        "fits": False,
    }
    assert document["progress"]["bytes_per_second"] == 5
    assert document["trouble"] == [{"what": "put: SlowDown", "hint": "wait", "since": "2026-11-23T12:00:00.000Z"}]
    assert document["outcome"] is None


def test_p5_a_stale_notice_is_shown_without_a_deadline():
    state = Evacuation(effects=Effects.of(Mode.ACT), notices=frozenset({spot(stale=True)}))
    document = shown(state)
    assert document["notice"]["stale"] is True
    assert document["deadline"] is None


def test_at_rest_the_outcome_and_the_checkpoint_are_shown():
    saved = Saved(
        checkpoint=CheckpointId("20261123T120000.000Z-1a2b3c4d"),
        n=2,
        key="checkpoints/k",
        digest="d",
        complete=False,
        created_at=NOON,
        totals=Totals(files=7, bytes=70),
        left=Left(files=3, bytes=30, seen=8),
    )
    state = Evacuation(
        effects=Effects.of(Mode.ACT),
        phase=Phase.RESTING,
        notices=frozenset({spot()}),
        saved=saved,
        entered={Phase.DRAINING: 1000.0},
    )
    document = shown(state, saved=saved)
    assert document["outcome"] == "PARTIAL"
    assert (document["checkpoint"]["left_files"], document["checkpoint"]["seen_files"]) == (3, 8)
    assert document["checkpoint"]["complete"] is False


def test_what_the_mode_withheld_is_shown():
    state = Evacuation(effects=Effects.of(Mode.OBSERVE), withheld={"drain": "node n1 would have been drained"})
    assert shown(state)["withheld"] == ["node n1 would have been drained"]


def test_the_rate_is_of_the_last_seconds_and_begins_anew_with_a_new_copy():
    rate = Rate()
    assert rate.per_second == 0.0
    for second in range(31):
        rate.add(float(second), 100 * second if second <= 20 else 2000)
    assert rate.per_second < 10
    rate.add(31.0, 0)
    rate.add(32.0, 50)
    assert rate.per_second == 50.0


def test_p8_names_of_files_and_what_jobs_say_of_themselves_are_shown_to_root_only():
    said = {
        "copy": "copy the scratch: read /scratch/alice/plan.txt: Input/output error",
        "jobs": "job 7: read the comment 'hpc-agent:alice'",
        "drain": "scontrol show node: Unable to contact slurm controller",
    }
    state = Evacuation(
        effects=Effects.of(Mode.ACT),
        trouble={work: Trouble(what=what, hint="look", since=NOON) for work, what in said.items()},
    )
    waits = Progress(waiting="put data/-/p/f1/plan.txt: no answer")
    ahead = Trouble(what="save ahead: read alice/plan.txt", hint="", since=NOON)
    for_root = shown(state, progress=waits, trouble_ahead=ahead)
    assert [one["what"] for one in for_root["trouble"]] == [*said.values(), ahead.what]
    assert for_root["progress"]["waiting"] == waits.waiting
    for_anybody = shown(state, progress=waits, trouble_ahead=ahead, is_root=False)
    assert "alice" not in str(for_anybody)
    assert "plan.txt" not in str(for_anybody)
    told = [one["what"] for one in for_anybody["trouble"]]
    assert told == ["copy: root is told what", "jobs: root is told what", said["drain"], "ahead: root is told what"]
