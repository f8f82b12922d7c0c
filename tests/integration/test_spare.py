"""One copier process serves one order after the other, whoever gives them, until nobody has any."""

import asyncio
import os
import signal
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict
from pathlib import Path

import pytest

from agent.copier.protocol import Copied, Scan
from agent.copier.protocol import Save as Command
from agent.daemon import spare as spares
from agent.daemon.copier import CopierProcess, CopierRefused
from agent.daemon.saving import setup_of
from agent.daemon.spare import Spare
from agent.evacuation.record import saved_of
from agent.settings import load
from tests.fakes.node import ME

pytestmark = pytest.mark.s3

IDS = [f"20261123T09150{number}.000Z-1a2b3c4d" for number in range(10)]


class Node:
    """A scratch of three files, and copiers that share what is spare."""

    def __init__(self, tmp_path, server):
        self.scratch = tmp_path / "scratch"
        self.scratch.mkdir()
        for number in range(3):
            (self.scratch / f"f{number}").write_bytes(b"x" * number)
        config = tmp_path / "config.toml"
        config.write_text(f'[scratch]\npaths = ["{self.scratch}"]\n[s3]\nbucket = "{server.bucket()}"\n')
        self.setup = setup_of(load(config, server.environment))
        self.spare = Spare()
        self.children = []

    def copier(self, niceness=0):
        return CopierProcess(self.setup, niceness=niceness, spare=self.spare)

    async def checkpoint(self, copier, number):
        """Make one; return what its head says."""
        command = Command(checkpoint=IDS[number], reason="manual", node=asdict(ME), commit_every=30.0)
        assert await copier.save(command, lambda _: None) == Copied()
        self.children.append(copier._child)
        return saved_of(dict((await copier.finish(lambda _: None)).saved))

    @property
    def pids(self):
        return [child.process.pid for child in self.children]

    @property
    def is_one(self):
        return len(set(self.pids)) == 1


@pytest.fixture
async def node(tmp_path, s3_server, monkeypatch):
    for name, value in s3_server.environment.items():
        monkeypatch.setenv(name, value)
    node = await asyncio.to_thread(Node, tmp_path, s3_server)
    yield node
    if (child := node.spare.take()) is not None:
        await child.end()
    for child in node.children:
        await child.exit_code()  # the loop must hear of it before it closes


@asynccontextmanager
async def used(copier):
    try:
        yield copier
    finally:
        await copier.end()


def nicenesses(pid):
    return {os.getpriority(os.PRIO_PROCESS, int(task.name)) for task in Path(f"/proc/{pid}/task").iterdir()}


async def test_p9_a_copier_that_holds_much_memory_is_not_kept(node, monkeypatch):
    monkeypatch.setattr(spares, "MOST_BYTES", 1 << 20)  # a constant
    for number in range(2):
        async with used(node.copier()) as copier:
            await node.checkpoint(copier, number)
    assert not node.is_one


async def test_the_next_order_finds_the_copier_warm_and_each_has_its_own_checkpoint(node):
    for number in range(3):
        (node.scratch / f"more{number}").write_bytes(b"y")
        async with used(node.copier()) as copier:
            saved = await node.checkpoint(copier, number)
        assert saved.checkpoint == IDS[number]
        assert saved.totals.files == 4 + number
    assert node.is_one


async def test_a_rescue_takes_what_a_background_copy_has_warmed_and_all_its_threads_get_the_right_of_way(node):
    ours = os.getpriority(os.PRIO_PROCESS, 0)
    async with used(node.copier(niceness=10)) as background:
        await node.checkpoint(background, 0)
        assert nicenesses(node.pids[0]) == {ours + 10}
    async with used(node.copier()) as rescue:
        await node.checkpoint(rescue, 1)
        assert nicenesses(node.pids[0]) == {ours}
    assert node.is_one


async def test_where_the_weight_of_a_spare_copier_cannot_be_raised_another_is_started(node, monkeypatch):
    async with used(node.copier(niceness=10)) as background:
        await node.checkpoint(background, 0)
    set_, refusals = os.setpriority, [PermissionError()]

    def refuse_once(which, who, niceness):
        if refusals:
            raise refusals.pop()
        set_(which, who, niceness)

    monkeypatch.setattr(os, "setpriority", refuse_once)
    async with used(node.copier()) as rescue:
        assert (await node.checkpoint(rescue, 1)).complete
    assert not node.is_one


async def test_p7_a_spare_copier_that_was_killed_is_replaced_without_a_word(node):
    async with used(node.copier()) as copier:
        await node.checkpoint(copier, 0)
    os.kill(node.pids[0], signal.SIGKILL)
    await node.spare._child.process.wait()
    async with used(node.copier()) as copier:
        assert (await node.checkpoint(copier, 1)).complete
    assert not node.is_one


async def test_a_copier_that_is_cut_in_the_middle_or_was_refused_something_is_not_kept(node):
    async with used(node.copier()) as copier:
        saving = asyncio.create_task(node.checkpoint(copier, 0))
        while copier._child is None:  # noqa: ASYNC110 - until it has begun
            await asyncio.sleep(0.01)
        saving.cancel()
        with suppress(asyncio.CancelledError):
            await saving
    assert node.spare.take() is None
    node.scratch.rename(node.scratch.with_name("gone"))
    async with used(node.copier()) as copier:
        with pytest.raises(CopierRefused):
            await copier.scan(Scan(), lambda _: None)
    assert node.spare.take() is None


async def test_a_finish_never_commits_what_an_earlier_order_was_about(node):
    async with used(node.copier()) as copier:
        await node.checkpoint(copier, 0)
    node.scratch.rename(node.scratch.with_name("gone"))
    async with used(node.copier()) as copier:
        with pytest.raises(CopierRefused):
            await node.checkpoint(copier, 1)
        saved = saved_of(dict((await copier.finish(lambda _: None)).saved))
    assert (saved.checkpoint, saved.complete, saved.totals.files) == (IDS[1], False, 0)


async def test_a_look_by_a_warm_copier_costs_what_it_costs_and_not_what_was_done_before(node):
    async with used(node.copier()) as copier:
        first = await copier.scan(Scan(), lambda _: None)
    async with used(node.copier()) as copier:
        second = await copier.scan(Scan(), lambda _: None)
    assert 0 < second.cpu_seconds < first.cpu_seconds / 2


async def test_a_copier_that_nobody_needs_for_a_while_goes(node, monkeypatch):
    monkeypatch.setattr(spares, "KEPT", 0.2)
    async with used(node.copier()) as copier:
        await node.checkpoint(copier, 0)
    assert await node.children[0].exit_code() == -signal.SIGKILL
    assert node.spare.take() is None


async def test_of_two_only_the_last_is_kept(node):
    async with used(node.copier()) as one, used(node.copier()) as other:
        await node.checkpoint(one, 0)
        await node.checkpoint(other, 1)
    assert await node.children[1].exit_code() == -signal.SIGKILL  # `other` came first, then `one`
    kept = node.spare.take()
    await kept.end()
    assert kept.process.pid == node.pids[0]
