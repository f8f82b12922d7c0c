"""Saving ahead over a disk of gigabytes, in simulated time: hours pass in milliseconds."""

import asyncio
import contextlib
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest

from agent.chance import SeededChance
from agent.daemon.allowance import Allowance
from agent.daemon.leading import PAUSE
from agent.daemon.rescued import Rescued
from agent.daemon.runner import Runner
from agent.daemon.works import Works
from agent.errors import PermanentError
from agent.evacuation.phases import Phase
from agent.evacuation.state import Effects, Evacuation, Outcome
from agent.model.mode import Mode
from agent.model.notice import Notice, NoticeKind
from tests.fakes.ahead import Disk, DiskCopier, leading, spot
from tests.fakes.imds_time import START, LoopClock, play
from tests.fakes.jobs import FakeJobs, job_work
from tests.fakes.node import FakeSlurmNode, FakeWhoami

GB = 10**9
HOUR = 3600.0


class Node:
    """A node with 100 files on its disk, `size` bytes together, that saves ahead."""

    def __init__(self, size, *, age=2 * HOUR, rate=200e6, place=None, refusal=None, dies=0, **checkpoint):
        self.clock = LoopClock()
        self.disk = Disk(self.clock)
        for number in range(100):
            self.disk.write(f"f{number:02}", size // 100, age=age - number)
        self.ahead = DiskCopier(self.disk, rate=rate, dies=dies)
        self.place = place or spot()
        self.leading = leading(
            self.ahead, clock=self.clock, place=lambda: self.place, refusal=refusal, used=self.disk.used, **checkpoint
        )

    def step(self, record):
        self.place = spot(is_free=record.state.phase is Phase.WATCHING)

    @contextlib.asynccontextmanager
    async def living(self):
        task = asyncio.create_task(self.leading.run(), name="lead")
        try:
            yield self
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    def fill(self, name, size, **how):
        self.disk.write(name, size, **how)
        self.leading.saving.used = self.disk.used

    @property
    def estimate(self):
        return self.leading.saving.estimate()


def after(seconds, size, **how):
    """Return a node with `size` bytes after so many seconds."""

    async def scene():
        async with Node(size, **how).living() as node:
            await asyncio.sleep(seconds)
            return node, node.estimate

    return play(scene)


def test_a_small_tree_is_never_sent_ahead_nor_looked_at():
    node, estimate = after(8 * HOUR, 3 * GB)
    assert not node.disk.sent
    assert not node.ahead.scans
    assert estimate.bytes == 3 * GB
    assert estimate.files is None


def test_a_large_tree_is_sent_ahead_oldest_change_first_until_a_rescue_fits():
    node, estimate = after(HOUR, 20 * GB)
    assert node.disk.sent == sorted(node.disk.sent)
    assert estimate.seconds < 30
    assert estimate.is_measured
    assert estimate.bytes == 20 * GB - sum(node.disk.files[name][0] for name in node.disk.sent)
    assert 0 < estimate.bytes <= 1 * GB
    assert len(set(node.disk.sent)) == len(node.disk.sent)


def test_a_file_that_is_written_again_and_again_is_never_sent_ahead():
    async def scene():
        async with Node(20 * GB).living() as node:
            for _ in range(60):
                await asyncio.sleep(300)
                node.fill("churning", 10 * GB)
            return node

    node = play(scene)
    assert "churning" not in node.disk.sent
    assert len(node.disk.sent) >= 90


def test_a_file_that_changes_is_sent_at_most_once_within_its_quiet_time():
    async def scene():
        async with Node(0).living() as node:
            sent = []
            for _ in range(5):
                node.fill("results", 20 * GB)
                sent.append(node.disk.sent.count("results"))
                await asyncio.sleep(580)
                sent.append(node.disk.sent.count("results"))
                await asyncio.sleep(HOUR)
            return sent

    assert play(scene) == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]


def test_the_bytes_of_a_day_are_not_exceeded_and_midnight_gives_new_ones():
    async def scene():
        async with Node(40 * GB, lead_bytes_per_day="10GB").living() as node:
            await asyncio.sleep(14 * HOUR)  # 09:15 to 23:15
            first = len(node.disk.sent)
            await asyncio.sleep(2 * HOUR)
            return first, len(node.disk.sent), node.leading.why

    first, second, why = play(scene)
    assert first * 0.4 <= 10
    assert first >= 23
    assert second > first
    assert "lead_bytes_per_day" in why


async def test_the_bytes_of_a_day_survive_a_restart(tmp_path):
    path, clock = tmp_path / "ahead.json", LoopClock()
    with ThreadPoolExecutor(1) as executor:
        first = Allowance(path, clock=clock, executor=executor)
        first.add(5 * GB)
        first.committed(START)
        await first.keep()
        again = Allowance(path, clock=clock, executor=executor)
        assert (again.today, again.head_at, again.sent) == (5 * GB, START, 0)
        clock.jump = timedelta(days=1)
        assert again.today == 0


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"day": "d", "bytes": "x", "head_at": ""}', '{"day": 1'])
async def test_a_broken_file_of_the_day_is_nothing(tmp_path, text):
    path = tmp_path / "ahead.json"
    path.write_text(text)
    assert Allowance(path, clock=LoopClock(), executor=None).today == 0


async def test_p6_a_state_directory_that_cannot_be_written_is_no_reason_to_stop(tmp_path):
    with ThreadPoolExecutor(1) as executor:
        one = Allowance(tmp_path / "nowhere" / "ahead.json", clock=LoopClock(), executor=executor)
        one.add(7)
        await one.keep()
        assert one.today == 7


def test_an_on_demand_node_is_neither_looked_at_nor_saved_ahead():
    node, estimate = after(HOUR, 50 * GB, place=spot(is_spot=False))
    assert not node.ahead.scans
    assert not node.ahead.saves
    assert estimate.bytes == 50 * GB


def test_in_observe_mode_it_looks_and_sends_nothing():
    node, _ = after(HOUR, 50 * GB, place=spot(may_save=False))
    assert node.ahead.scans
    assert not node.ahead.saves
    assert "mode" in node.leading.why


def test_p9_looks_at_a_tree_take_at_most_a_hundredth_of_a_core_while_jobs_run():
    async def scene():
        async with Node(0).living() as node:
            node.ahead.cpu_seconds = 3.0
            node.fill("young", 9 * GB)
            for _ in range(100):
                await asyncio.sleep(60)
                node.fill("young", 9 * GB)
            return node.leading.cpu_seconds

    assert 30 < play(scene) <= 6000 / 100 + 3


def test_p9_without_a_job_there_is_one_look_and_then_none():
    node, _ = after(8 * HOUR, 20 * GB, place=spot(has_jobs=False))
    assert len(node.ahead.scans) == 1


def test_what_the_last_job_left_is_looked_at_once_more():
    async def scene():
        async with Node(20 * GB).living() as node:
            await asyncio.sleep(HOUR)
            before = len(node.ahead.scans)
            node.place = spot(has_jobs=False)
            await asyncio.sleep(8 * HOUR)
            return len(node.ahead.scans) - before

    assert 1 <= play(scene) <= 2


def test_a_whole_checkpoint_is_made_at_its_interval_whatever_the_scope():
    node, estimate = after(4 * HOUR + 60, 3 * GB, lead="never", every="1h")
    assert len(node.ahead.saves) == 4
    assert node.ahead.saves[0].most_bytes is None
    assert node.ahead.saves[0].changed_before is None
    assert estimate.bytes == 0


def test_container_layers_are_left_out_counted_four_times_a_day_and_their_bytes_are_shown():
    async def scene():
        node = Node(40 * GB, lead_quiet="10m")
        node.leading.saving.layers = ("docker", "enroot")
        async with node.living():
            await asyncio.sleep(8 * HOUR)
        return node

    node = play(scene)
    paths = ["/scratch/docker", "/scratch/enroot"]
    assert len(node.ahead.layers) > 100
    assert [layers for layers in node.ahead.layers if layers] == [paths, paths]
    assert node.leading.saving.layer_bytes == 14
    assert {tuple(save.exclude) for save in node.ahead.saves} == {("docker", "enroot")}


@pytest.mark.parametrize(("lead", "size", "sent"), [("always", GB, 100), ("never", 40 * GB, 0)])
def test_lead_always_sends_all_that_rests_and_never_sends_nothing(lead, size, sent):
    node, _ = after(HOUR, size, lead=lead)
    assert len(node.disk.sent) == sent


def test_what_jobs_change_between_looks_is_measured_for_the_last_delta():
    async def scene():
        async with Node(40 * GB).living() as node:
            for _ in range(100):
                await asyncio.sleep(60)
                node.fill("log", 60 * 10**6)
            return node

    assert play(scene).leading.saving.churn.per_second == pytest.approx(1e6, rel=0.5)


def test_what_fails_is_shown_and_not_tried_again_at_once():
    node, _ = after(PAUSE[0] - 10, 20 * GB, dies=1)
    assert len(node.ahead.scans) == 1
    assert "it died" in node.leading.trouble.what
    node, _ = after(3 * PAUSE[0], 20 * GB, dies=1)
    assert len(node.ahead.scans) >= 2
    assert node.leading.trouble is None


def test_where_nothing_can_be_saved_nothing_is_looked_at():
    node, _ = after(HOUR, 20 * GB, refusal=PermanentError("use", "the bucket", "no bucket is set"))
    assert not node.ahead.scans
    assert node.leading.why == "the bucket: no bucket is set"


def test_a_limit_of_the_bandwidth_is_told_to_the_copier():
    node, _ = after(HOUR, 20 * GB, bandwidth_limit="50MB")
    assert node.ahead.saves[0].bytes_per_second == 50_000_000


def rescued(size, *, wait, changed=0, **how):
    """Return node, its rescue's copier and record after a notice `wait` seconds in; `changed` files are new then."""

    async def scene():
        async with Node(size, **how).living() as node:
            copier = DiskCopier(node.disk, rate=200e6)
            whoami = FakeWhoami(FakeSlurmNode())
            works = Works(
                hold=None,
                may_lose=lambda: False,
                whoami=whoami,
                copier=copier,
                leading=node.leading,
                moved=lambda message: None,
                heard=lambda: True,
                receipts=lambda checkpoint: "",
                terms=lambda: {"cache": "/state/base"},
                safety_margin=15.0,
                cannot_save=_nothing,
                clock=node.clock,
                chance=SeededChance(1),
                jobs=job_work(whoami, FakeJobs()),
                rescued=Rescued(lambda: None, gone=()),
                current=lambda: runner.state,
                measured=lambda found: None,
            )
            runner = Runner(
                Evacuation(effects=Effects.of(Mode.ACT)),
                performers=works.performers,
                clock=node.clock,
                chance=SeededChance(2),
                safety_margin=15.0,
                step=node.step,
            )
            task = asyncio.create_task(runner.run(), name="runner")
            runner.started()
            await asyncio.sleep(wait)
            for number in range(changed):
                node.disk.write(f"f{number:02}", size // 100)
            sent, began = len(node.disk.sent), asyncio.get_running_loop().time()
            runner.noticed("spot", frozenset({notice(began + 120)}))
            async with asyncio.timeout(125):
                while runner.state.phase is not Phase.RESTING:  # noqa: ASYNC110 - time is simulated
                    await asyncio.sleep(0.05)
            took = asyncio.get_running_loop().time() - began
            task.cancel()
            return node, copier, runner.state, node.disk.sent[sent:], took

    return play(scene)


async def _nothing():
    return None


def notice(due):
    return Notice(
        id="spot:i-0",
        kind=NoticeKind.SPOT_TERMINATE,
        ends_at=START + timedelta(days=1),
        due=due,
        seen_at=START,
        source="spot",
    )


def test_20_gb_with_a_hundredth_changed_at_the_notice_are_complete_within_ten_seconds():
    _, copier, state, sent, took = rescued(20 * GB, wait=HOUR, changed=1)
    assert state.outcome is Outcome.COMPLETE
    assert took < 10
    assert "f00" in sent
    assert copier.saves[0].cache == "/state/base"
    assert copier.saves[0].until == pytest.approx(1000 + HOUR + 120 - 15, abs=1)


def test_without_a_copy_ahead_the_same_tree_takes_most_of_the_window():
    _, _, state, sent, took = rescued(20 * GB, wait=HOUR, lead="never")
    assert state.outcome is Outcome.COMPLETE
    assert len(sent) == 100
    assert took > 90


def test_a_notice_cuts_a_pass_at_once():
    node, _, state, sent, _ = rescued(20 * GB, wait=30)
    assert not node.ahead.running
    assert 0 < 100 - len(sent) < 100
    assert state.outcome is Outcome.COMPLETE
    assert node.leading.trouble is None
