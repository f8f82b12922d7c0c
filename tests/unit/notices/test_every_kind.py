"""Every kind of notice x what can happen to it: what the source shows, and what the decision makes of it by default.

The chain is the real one but for its ends: source, settle, machine, wanted work. Each telling is a list of what the
outside shows, one look apart; `Seen` is of the last look, phase and work are of the state after it.
"""

import json
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import pytest

from agent.daemon.memory import Memory
from agent.errors import PermanentError, TransientError
from agent.evacuation.events import Done, Looked, Matured, Noticed
from agent.evacuation.machine import advance
from agent.evacuation.phases import Phase
from agent.evacuation.policy import DEFAULTS
from agent.evacuation.state import Effects, Evacuation
from agent.evacuation.work import OWN, Work, wanted
from agent.imds import documents
from agent.model.checkpoint import CheckpointId
from agent.model.drain import NodeState
from agent.model.mode import Mode
from agent.model.node import BootId, Identity, InstanceId
from agent.model.notice import NoticeKind
from agent.notices.asg import AsgSource
from agent.notices.block import read_answer, share, sighting_of
from agent.notices.events import EventSource
from agent.notices.operator import OperatorSource
from agent.notices.rebalance import RebalanceSource
from agent.notices.shutdown import STOP_TIME, ShutdownSource
from agent.notices.sighting import Instant, settle
from agent.notices.spot import SpotSource
from agent.notices.tag import TagSource
from tests.fakes.imds import FakeMetadata

K = NoticeKind
NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
START = 1000.0
LOOK = 10.0
"""Seconds between two looks."""
FRESH = CheckpointId("20261123T120000.000Z-1a2b3c4d")
ME = InstanceId("i-1")
HOUR = 3600.0
WINDOW = 300.0
HTML = b"<html><body>Welcome to the hotel network</body></html>"


def when(seconds):
    return (NOON + timedelta(seconds=seconds)).isoformat()


class World:
    """An outside that shows what the test says, and the wall clock."""

    def __init__(self, life_cycle="spot", *, was_in_service=False):
        self.time = NOON
        self.imds = FakeMetadata()
        self.life_cycle = life_cycle
        self.was_in_service = was_in_service
        self.source = self.make()

    def now(self):
        return self.time

    @property
    def identity(self):
        return Identity(instance_id=ME, life_cycle=self.life_cycle)


class FromImds(World):
    """A source that reads one path of IMDS; None is 404."""

    path = ""

    def show(self, body):
        self.imds.paths = {} if body is None else {self.path: body if isinstance(body, bytes) else body.encode()}


class Spot(FromImds):
    path = documents.INSTANCE_ACTION

    def make(self):
        return SpotSource(self.imds, identity=self.identity)


class Tag(FromImds):
    path = documents.EVACUATE_BY

    def make(self):
        return TagSource(self.imds, identity=self.identity)


class Rebalance(FromImds):
    path = documents.REBALANCE

    def make(self):
        return RebalanceSource(self.imds)


class Events(FromImds):
    path = documents.SCHEDULED_EVENTS

    def make(self):
        return EventSource(self.imds)


class Asg(FromImds):
    path = documents.TARGET_STATE

    def make(self):
        return AsgSource(
            self.imds, clock=self, hook_window=timedelta(seconds=WINDOW), was_in_service=self.was_in_service
        )


class Block(World):
    """What the child that asks EC2 prints, without the schedule of the questions."""

    name = "capacity-block"

    def make(self):
        return self

    def show(self, answer):
        self.answer = answer if isinstance(answer, str) else json.dumps(answer)

    async def look(self):
        block = read_answer(self.answer, instance_type="p5.48xlarge")
        return () if block is None else (sighting_of(block, ME),)


class Shutdown(World):
    def make(self):
        return ShutdownSource(self.read, self)

    def show(self, node):
        self.node = node

    async def read(self):
        if isinstance(self.node, Exception):
            raise self.node
        return self.node


class Operator(World):
    def make(self):
        return OperatorSource()

    def show(self, seconds):
        if seconds is None:
            self.source.cancel()
        else:
            self.source.evacuate(NOON + timedelta(seconds=seconds))


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of the table. `seen` are (kind, code, seconds from NOON), or UNKNOWN; `later` adds the moment from which
    the notice is acted on, and what is done then.
    """

    name: str
    world: object
    shows: list
    seen: object
    phase: Phase
    work: frozenset = frozenset()
    saves: bool = False
    later: object = None


UNKNOWN = "unknown"
NOTHING = ()


def leaving(name, world, shows, *seen, saves=True):
    return Row(
        name=name,
        world=world,
        shows=shows,
        seen=seen or UNKNOWN,
        phase=Phase.DRAINING,
        work=frozenset({Work.DRAIN}),
        saves=saves,
    )


def returning(name, world, shows):
    return Row(name=name, world=world, shows=shows, seen=NOTHING, phase=Phase.RETURNING, work=frozenset({Work.LIFT}))


def watching(name, world, shows, *seen, work=(), unknown=False, later=None):
    found = UNKNOWN if unknown else seen
    return Row(name=name, world=world, shows=shows, seen=found, phase=Phase.WATCHING, work=frozenset(work), later=later)


def action(word, seconds):
    return json.dumps({"action": word, "time": when(seconds)})


def spot(word, kind):
    good = action(word, 120)
    return [
        leaving(f"{kind} arrives", Spot, [None, good], (kind, "", 120)),
        leaving(f"{kind} changes", Spot, [good, action(word, 60)], (kind, "", 60)),
        returning(f"{kind} is withdrawn", Spot, [good, None]),
        leaving(f"{kind} is a minute past", Spot, [action(word, -60)], (kind, "", -60)),
        watching(f"{kind} is an hour past", Spot, [action(word, -HOUR)], (kind, "", -HOUR)),
        watching(f"{kind} is malformed", Spot, [f'{{"action": "{word}", "ti'], unknown=True),
        leaving(f"{kind} becomes malformed", Spot, [good, HTML]),
    ]


SPOT = [
    *spot("terminate", K.SPOT_TERMINATE),
    *spot("stop", K.SPOT_STOP),
    *spot("hibernate", K.SPOT_HIBERNATE),
    leaving("a Spot action that is new", Spot, [action("evaporate", 120)], (K.SPOT_TERMINATE, "", 120)),
]


def tag(life_cycle, kind):
    def world():
        return Tag(life_cycle)

    return [
        leaving(f"{kind} by tag arrives", world, [None, when(600)], (kind, "", 600)),
        leaving(f"{kind} by tag changes", world, [when(600), when(300)], (kind, "", 300)),
        returning(f"{kind} by tag is withdrawn", world, [when(600), None]),
        leaving(f"{kind} by tag is a minute past", world, [when(-60)], (kind, "", -60)),
        watching(f"{kind} by tag is an hour past", world, [when(-HOUR)], (kind, "", -HOUR)),
        watching(f"{kind} by tag is malformed", world, ["now"], unknown=True),
        leaving(f"{kind} by tag becomes malformed", world, [when(600), "now"]),
    ]


TAG = [
    *tag("interruptible-capacity-reservation", K.INTERRUPTIBLE_RESERVATION),
    *tag("on-demand", K.OPERATOR),
    leaving("the tag on a life cycle that is new", lambda: Tag("rented"), [when(600)], (K.OPERATOR, "", 600)),
]


def made(seconds):
    return json.dumps({"noticeTime": when(seconds)})


LEAD = {Work.LEAD}
REBALANCE = [
    watching("a recommendation arrives", Rebalance, [None, made(-5)], (K.REBALANCE, "", -5), work=LEAD),
    watching("a recommendation changes", Rebalance, [made(-500), made(-5)], (K.REBALANCE, "", -5), work=LEAD),
    watching("a recommendation is withdrawn", Rebalance, [made(-5), None]),
    watching("a recommendation is half an hour old", Rebalance, [made(-1800)], (K.REBALANCE, "", -1800), work=LEAD),
    watching("a recommendation is hours old", Rebalance, [made(-3 * HOUR)], (K.REBALANCE, "", -3 * HOUR)),
    watching("a recommendation is malformed", Rebalance, ['{"noticeTime": "soon"}'], unknown=True),
    watching("a recommendation becomes malformed", Rebalance, [made(-5), HTML], unknown=True, work=LEAD),
    watching(
        "a recommendation with new fields",
        Rebalance,
        [json.dumps({"noticeTime": when(-5), "new": [1]})],
        (K.REBALANCE, "", -5),
        work=LEAD,
    ),
]


def event(seconds, code="instance-stop", **parts):
    return {"EventId": "e-1", "Code": code, "NotBefore": when(seconds), "State": "active", **parts}


def listed(*entries):
    return json.dumps(entries)


DAY = 24 * HOUR
LEFT = 15 * 60.0
"""The lead of a scheduled event."""


def events(code, *, saves):
    far, soon = event(DAY, code), event(600, code)
    seen = (K.SCHEDULED_EVENT, code)
    over = [{**soon, "State": "completed"}, {**soon, "Description": "[Canceled] scheduled"}]
    return [
        watching(f"{code} is announced", Events, [None, listed(far)], (*seen, DAY), later=(DAY - LEFT, saves)),
        leaving(f"{code} is near", Events, ["[]", listed(soon)], (*seen, 600), saves=saves),
        leaving(f"{code} comes nearer", Events, [listed(far), listed(soon)], (*seen, 600), saves=saves),
        replace(
            returning(f"{code} is postponed", Events, [listed(soon), listed(far)]),
            seen=((*seen, DAY),),
        ),
        returning(f"{code} is not listed any more", Events, [listed(soon), ""]),
        *(returning(f"{code} is over ({number})", Events, [listed(soon), listed(o)]) for number, o in enumerate(over)),
        leaving(f"{code} is an hour past", Events, [listed(event(-HOUR, code))], (*seen, -HOUR), saves=saves),
        watching(
            f"{code} is past its NotAfter",
            Events,
            [listed(event(-2 * HOUR, code, NotAfter=when(-HOUR)))],
            (*seen, -2 * HOUR),
        ),
        watching(f"{code} is malformed", Events, [listed(event(600, code, NotBefore="soon"))], unknown=True),
        leaving(
            f"{code} becomes malformed beside another",
            Events,
            [listed(soon), listed({**soon, "NotBefore": "soon"}, {**far, "EventId": "e-2", "State": "canceled"})],
            (*seen, 600),
            saves=saves,
        ),
        leaving(f"{code} becomes HTML", Events, [listed(soon), HTML], saves=saves),
        leaving(f"{code} in a new state", Events, [listed(event(600, code, State="opted"))], (*seen, 600), saves=saves),
    ]


EVENTS = [
    *events("instance-stop", saves=True),
    *events("instance-retirement", saves=True),
    *events("never-heard-of", saves=True),
    *events("system-reboot", saves=False),
    *events("instance-reboot", saves=False),
    *events("system-maintenance", saves=False),
]

ENDS = (K.ASG_TERMINATE, "", WINDOW)


def in_service():
    return Asg(was_in_service=True)


def pool(target):
    seen = (K.WARM_POOL_RETURN, "", WINDOW)
    return [
        leaving(f"{target} arrives", Asg, ["InService", target], (*seen[:2], WINDOW + LOOK)),
        leaving(f"{target} arrives over a restart", in_service, [target], seen),
        leaving(f"{target} stays as it is", in_service, [target, target], seen),
        leaving(f"{target} becomes Terminated", in_service, [target, "Terminated"], (*ENDS[:2], WINDOW + LOOK)),
        returning(f"{target} is withdrawn", in_service, [target, "InService"]),
        leaving(f"{target} becomes malformed", in_service, [target, HTML]),
        watching(f"{target} before any service", Asg, [target]),
    ]


AUTO_SCALING = [
    leaving("Terminated arrives", Asg, [None, "InService", "Terminated"], (*ENDS[:2], WINDOW + 2 * LOOK)),
    leaving("Terminated stays as it is", Asg, ["Terminated", "Terminated", "Terminated"], ENDS),
    leaving("Warmed:Terminated arrives", in_service, ["Warmed:Terminated"], ENDS),
    leaving("Terminating:Wait arrives", in_service, ["Terminating:Wait"], ENDS),
    returning("Terminated is withdrawn", Asg, ["Terminated", "InService"]),
    returning("Terminated goes and there is no group any more", Asg, ["Terminated", None]),
    watching("a lifecycle state that is malformed", Asg, [HTML], unknown=True),
    leaving("Terminated becomes malformed", Asg, ["Terminated", ""]),
    watching("a lifecycle state that is new", in_service, ["ReplacingRootVolume"]),
    watching("Warmed:Running after service", in_service, ["Warmed:Running"]),
    watching("Warmed:Terminated before any service", Asg, ["Warmed:Terminated"]),
    *pool("Warmed:Stopped"),
    *pool("Warmed:Hibernated"),
]


def block(seconds, **parts):
    found = {"id": "cr-1", "type": "capacity-block", "state": "active", "end": when(seconds)}
    return {"reservation": {**found, **parts}}


TAKEN = -1800 - share(ME).total_seconds()
"""From EndDate to when our instance is taken."""
BLOCK_SEEN = (K.CAPACITY_BLOCK_END, "", DAY + TAKEN)
SOON = 2100.0
"""An EndDate whose instances are taken in five minutes."""
DENIED = {"error": "AccessDenied", "hint": "grant it", "sort": "denied"}
BLOCK = [
    watching("a block is known", Block, [{"none": True}, block(DAY)], BLOCK_SEEN, later=(DAY + TAKEN - 600, True)),
    leaving("a block is near", Block, [block(SOON)], (K.CAPACITY_BLOCK_END, "", SOON + TAKEN)),
    replace(returning("a block is extended", Block, [block(SOON), block(DAY)]), seen=(BLOCK_SEEN,)),
    returning("a block is gone", Block, [block(SOON), {"none": True}]),
    returning("a block is cancelled", Block, [block(SOON), block(SOON, state="cancelled")]),
    leaving("a block is a minute past", Block, [block(1740)], (K.CAPACITY_BLOCK_END, "", 1740 + TAKEN)),
    watching("a block is hours past", Block, [block(-DAY)], (K.CAPACITY_BLOCK_END, "", -DAY + TAKEN)),
    watching("EC2 prints junk", Block, ["Traceback"], unknown=True),
    watching("EC2 may not be asked", Block, [DENIED], unknown=True),
    leaving("EC2 can't be asked any more", Block, [block(SOON), DENIED]),
    leaving("a block in a new state", Block, [block(SOON, state="odd")], (K.CAPACITY_BLOCK_END, "", SOON + TAKEN)),
    watching("a reservation of a new type", Block, [block(SOON, type="odd")]),
]

STOPS = (K.SHUTDOWN, "", STOP_TIME.total_seconds())


def node(base, *flags):
    return NodeState(name="n1", base=base, flags=frozenset(flags))


DOWN = node("ALLOCATED", "POWERING_DOWN")
REFUSED = PermanentError("read", "node n1", "Invalid node name")
SHUTDOWN = [
    leaving("Slurm powers a busy node down", Shutdown, [node("ALLOCATED"), DOWN], (*STOPS[:2], STOPS[2] + LOOK)),
    leaving("Slurm goes on powering a node down", Shutdown, [DOWN, DOWN], STOPS),
    returning("Slurm does not power the node down after all", Shutdown, [DOWN, node("IDLE")]),
    watching("Slurm powers an idle node down", Shutdown, [node("IDLE", "POWERING_DOWN")]),
    watching("Slurm does not answer", Shutdown, [REFUSED], unknown=True),
    leaving("Slurm does not answer any more", Shutdown, [DOWN, REFUSED]),
    watching("a node in a new state", Shutdown, [node("DREAMING", "FLYING")]),
    watching("there is no Slurm", Shutdown, [None]),
]

OPERATOR = [
    leaving("a person says so", Operator, [None, 600], (K.OPERATOR, "", 600)),
    leaving("a person says another time", Operator, [600, 300], (K.OPERATOR, "", 300)),
    returning("a person withdraws it", Operator, [600, None]),
    leaving("a person says now", Operator, [-60], (K.OPERATOR, "", -60)),
    watching("a person says yesterday", Operator, [-DAY], (K.OPERATOR, "", -DAY)),
]

TABLE = [*SPOT, *TAG, *REBALANCE, *EVENTS, *AUTO_SCALING, *BLOCK, *SHUTDOWN, *OPERATOR]


class Node:
    """The chain from a source to the wanted work."""

    def __init__(self, world):
        self.world = world
        self.state = Evacuation(effects=Effects.of(Mode.ACT), policy=DEFAULTS)
        self.notices = {}
        self.at = START - LOOK

    async def look(self, shown):
        """Return what is seen, (kind, code, seconds from NOON) each, a look after the last one."""
        self.at += LOOK
        self.world.time = NOON + timedelta(seconds=self.at - START)
        self.world.show(shown)
        try:
            sightings = await self.world.source.look()
        except TransientError:
            return UNKNOWN
        found = settle(self.notices, sightings, now=Instant(wall=self.world.time, mono=self.at))
        self.notices = {notice.id: notice for notice in found}
        self.tell(Noticed, source=self.world.source.name, notices=found)
        return tuple((one.kind, one.code, round((one.ends_at - NOON).total_seconds(), 3)) for one in sightings)

    def tell(self, event, **parts):
        wall = NOON + timedelta(seconds=self.at - START)
        self.state = advance(self.state, event(at=self.at, wall=wall, fresh=FRESH, **parts))

    def finish(self):
        """Do all the work of an evacuation of a node without jobs."""
        self.tell(Looked, jobs=())
        while self.state.phase in OWN:
            self.tell(Done, work=OWN[self.state.phase])


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.name)
async def test_every_kind_of_notice_leads_to_what_an_operator_expects(row):
    chain = Node(row.world())
    for shown in row.shows:
        seen = await chain.look(shown)
    assert seen == (row.seen if row.seen == UNKNOWN else tuple((k, c, round(s, 3)) for k, c, s in row.seen))
    assert (chain.state.phase, wanted(chain.state)) == (row.phase, row.work)
    assert chain.state.saves is row.saves
    if row.later is not None:
        acts_at, saves = row.later
        assert chain.state.next_act == pytest.approx(START + acts_at, abs=0.001)
        chain.at = chain.state.next_act
        chain.tell(Matured)
        assert (chain.state.phase, wanted(chain.state)) == (Phase.DRAINING, {Work.DRAIN})
        assert chain.state.saves is saves


def test_the_table_has_every_kind():
    told = {kind for row in TABLE if row.seen != UNKNOWN for kind, _, _ in row.seen}
    assert told == set(NoticeKind)


async def test_a_recommendation_is_led_for_once():
    chain = Node(Rebalance())
    await chain.look(made(-5))
    chain.tell(Done, work=Work.LEAD)
    await chain.look(made(-5))
    assert wanted(chain.state) == frozenset()
    await chain.look(made(0))
    assert wanted(chain.state) == {Work.LEAD}


async def test_the_walk_of_an_instance_through_its_warm_pool(tmp_path):
    memory = tmp_path / "node.json"
    world = Asg()
    chain = Node(world)
    assert await chain.look("Warmed:Stopped") == ()
    assert world.source.standing_by
    assert (chain.state.phase, wanted(chain.state)) == (Phase.WATCHING, frozenset())

    await chain.look("InService")
    assert not world.source.standing_by
    Memory(boot="b-1", in_service=world.source.was_in_service).save(memory)

    restarted = Memory.load(memory, BootId("b-1"))
    chain.world = Asg(was_in_service=restarted.in_service)
    await chain.look("Warmed:Stopped")
    assert (chain.state.phase, wanted(chain.state)) == (Phase.DRAINING, {Work.DRAIN})
    assert chain.state.saves
    chain.finish()
    assert chain.state.phase is Phase.RESTING

    started = Memory.load(memory, BootId("b-2"))
    fresh = Asg(was_in_service=started.in_service)
    chain = Node(fresh)
    assert await chain.look("Warmed:Stopped") == ()
    assert fresh.source.standing_by
    await chain.look("InService")
    assert (chain.state.phase, wanted(chain.state)) == (Phase.WATCHING, frozenset())


async def test_an_instance_that_comes_back_from_hibernation_in_the_same_boot_watches_again():
    chain = Node(in_service())
    await chain.look("Warmed:Hibernated")
    chain.finish()
    await chain.look("InService")
    assert wanted(chain.state) == {Work.LIFT}
    chain.finish()
    assert chain.state.phase is Phase.WATCHING
    await chain.look("Warmed:Hibernated")
    assert chain.state.phase is Phase.DRAINING
