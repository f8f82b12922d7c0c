"""The lifecycle hook over the hours of an evacuation, in simulated time."""

import asyncio
import contextlib
from datetime import timedelta

import pytest

from agent.daemon.autoscaling import Answer, AutoScaling, HookRefused, HookUnavailable, Verb
from agent.daemon.hook import DRAIN_FIRST, TRIES, Hook, wanted
from agent.evacuation.events import Matured
from agent.evacuation.phases import Phase
from agent.evacuation.record import Record
from agent.evacuation.state import Effects, Evacuation
from agent.model.mode import Mode
from agent.model.node import Identity
from agent.model.notice import Notice, NoticeKind
from agent.processes import ChildTimedOut
from tests.fakes.imds_time import START, LoopClock, play
from tests.fakes.node import ME, FakeWhoami
from tests.fakes.slurm import Scripted, said

SAVING = (Phase.DRAINING, Phase.COPYING, Phase.COMMITTING, Phase.RELEASING)


def notice(kind):
    return Notice(id="n", kind=kind, ends_at=START + timedelta(minutes=5), due=9e9, seen_at=START, source="asg")


def state(phase=Phase.COPYING, kind=NoticeKind.ASG_TERMINATE, *, mode=Mode.ACT):
    notices = frozenset({notice(kind)} if kind else ())
    return Evacuation(effects=Effects.of(mode), phase=phase, notices=notices)


class FakeHook:
    """A hook that ends the instance `timeout` seconds after the last heartbeat; `fails` are raised first, in turn."""

    def __init__(self, *, timeout=300.0, fails=(), waits_at=0.0):
        self.timeout = timeout
        self.fails = list(fails)
        self.waits_at = waits_at
        self.completed = 0
        self.asked = []

    async def tell(self, verb):
        now = asyncio.get_running_loop().time() - 1000.0
        self.asked.append((verb, now))
        if self.fails:
            raise self.fails.pop(0)
        taken = now >= self.waits_at and not self.completed
        self.completed += taken and verb is Verb.COMPLETE
        return Answer(taken=taken, heartbeat_seconds=self.timeout)

    def times(self, verb):
        return [at for asked, at in self.asked if asked is verb]


class Scene:
    """A hook that follows records; `enter` is what the runner does."""

    def __init__(self, fake):
        self.hook = Hook(fake.tell, LoopClock())
        self.records = asyncio.Queue()

    def enter(self, state):
        now = asyncio.get_running_loop().time()
        event = Matured(at=now, wall=START, fresh="20261123T120000.000Z-0000aaaa")
        self.records.put_nowait(Record(number=1, event=event, state=state))

    async def _each(self):
        while True:
            yield await self.records.get()

    @contextlib.asynccontextmanager
    async def following(self):
        task = asyncio.create_task(self.hook.follow(self._each()))
        try:
            yield self
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task


def run(fake, story):
    async def scene():
        async with Scene(fake).following() as it:
            return await story(it)

    return play(scene)


@pytest.mark.parametrize("phase", SAVING)
@pytest.mark.parametrize("kind", [NoticeKind.ASG_TERMINATE, NoticeKind.WARM_POOL_RETURN])
def test_while_the_node_is_saved_the_hook_is_kept(phase, kind):
    assert wanted(state(phase, kind)) is Verb.HEARTBEAT


def test_at_rest_it_is_completed():
    assert wanted(state(Phase.RESTING)) is Verb.COMPLETE


@pytest.mark.parametrize("kind", [None, *sorted(set(NoticeKind) - {"asg-terminate", "warm-pool-return"})])
def test_another_notice_has_no_hook(kind):
    assert wanted(state(Phase.RESTING, kind)) is None


def test_in_observe_mode_the_hook_is_left_alone_and_in_save_only_mode_it_is_kept():
    assert wanted(state(mode=Mode.OBSERVE)) is None
    assert wanted(state(mode=Mode.SAVE_ONLY)) is Verb.HEARTBEAT


def test_heartbeats_come_three_to_a_timeout_until_the_node_is_at_rest():
    fake = FakeHook(timeout=300)

    async def story(scene):
        scene.enter(state(Phase.DRAINING))
        scene.enter(state(Phase.COPYING))
        await asyncio.sleep(450)
        scene.enter(state(Phase.RESTING))
        await asyncio.sleep(3600)

    run(fake, story)

    assert fake.times(Verb.HEARTBEAT) == [DRAIN_FIRST + n * 100 for n in range(5)]
    assert fake.times(Verb.COMPLETE) == [450]
    assert fake.completed == 1


def test_the_shortest_hook_is_not_asked_more_often_than_every_ten_seconds_and_an_unknown_one_every_minute():
    async def story(scene):
        scene.enter(state())
        await asyncio.sleep(200)

    for timeout, count in ((30, 20), (15, 20), (None, 4)):
        fake = FakeHook(timeout=timeout)
        run(fake, story)
        assert len(fake.asked) == count


def test_a_heartbeat_that_fails_is_sent_again_soon_and_the_trouble_goes_with_success():
    fake = FakeHook(fails=[HookUnavailable("tell", "the hook", "throttled"), ChildTimedOut("run", "it", "no answer")])

    async def story(scene):
        scene.enter(state())
        await asyncio.sleep(15)
        trouble = scene.hook.trouble
        assert trouble.since == START + timedelta(seconds=DRAIN_FIRST)
        await asyncio.sleep(20)
        assert scene.hook.trouble is None

    run(fake, story)

    assert fake.times(Verb.HEARTBEAT) == [2, 12, 32]


def test_without_the_right_it_asks_once_each_and_says_so():
    refused = HookRefused("tell", "the hook", "denied", hint="allow autoscaling:CompleteLifecycleAction")
    fake = FakeHook(fails=[refused, refused])

    async def story(scene):
        scene.enter(state())
        await asyncio.sleep(300)
        scene.enter(state(Phase.RESTING))
        await asyncio.sleep(300)
        assert "autoscaling:" in scene.hook.trouble.hint
        scene.enter(state(Phase.WATCHING, kind=None))
        await asyncio.sleep(1)
        assert scene.hook.trouble is None

    run(fake, story)

    assert [verb for verb, _ in fake.asked] == [Verb.HEARTBEAT, Verb.COMPLETE]


def test_a_node_that_is_at_rest_before_the_instance_waits_completes_when_it_does():
    fake = FakeHook(waits_at=9)

    async def story(scene):
        scene.enter(state(Phase.RESTING))
        await asyncio.sleep(600)

    run(fake, story)

    assert fake.times(Verb.COMPLETE) == [0, 2, 6, 14]
    assert fake.completed == 1


def test_completing_is_tried_a_few_times_and_given_up():
    fake = FakeHook(fails=[HookUnavailable("tell", "the hook", "down") for _ in range(100)])

    async def story(scene):
        scene.enter(state(Phase.RESTING))
        await asyncio.sleep(600)
        assert scene.hook.trouble is not None

    run(fake, story)

    assert len(fake.asked) == TRIES


def test_a_notice_that_is_withdrawn_ends_the_heartbeats():
    fake = FakeHook(timeout=30)

    async def story(scene):
        scene.enter(state())
        await asyncio.sleep(5)
        scene.enter(state(Phase.RETURNING, kind=None))
        await asyncio.sleep(600)

    run(fake, story)

    assert len(fake.asked) == 1


async def answered(out, region="us-west-2"):
    whoami = FakeWhoami(None)
    whoami.identity = Identity(instance_id=ME.instance_id, region=region)
    child = Scripted([said(out)])
    answer = await AutoScaling(child, whoami).tell(Verb.HEARTBEAT)
    assert child.calls[0][1:] == ["-m", "agent.aws.lifecycle", "heartbeat", "--instance-id", ME.instance_id]
    assert child.envs == [{"AWS_REGION": region} if region else {}]
    return answer


async def test_what_the_child_prints_is_read():
    assert await answered('{"done": ["save"], "heartbeat_seconds": 120}') == Answer(taken=True, heartbeat_seconds=120)
    assert await answered('{"done": [], "heartbeat_seconds": null}', region="") == Answer(taken=False)


@pytest.mark.parametrize(
    ("out", "kind"),
    [
        ('{"error": "e", "hint": "h", "sort": "denied"}', HookRefused),
        ('{"error": "e", "hint": "h", "sort": "absent"}', HookRefused),
        ('{"error": "e", "hint": "h", "sort": "unavailable"}', HookUnavailable),
        ("", HookUnavailable),
        ("Traceback", HookUnavailable),
        ("[]", HookUnavailable),
        ('{"done": ["save"]}', HookUnavailable),
    ],
)
async def test_p5_what_is_no_answer_is_an_error_and_a_refusal_is_another(out, kind):
    with pytest.raises(kind):
        await answered(out)
