"""When the agent leaves after SIGTERM: in simulated time."""

import asyncio
import os
import signal
from itertools import pairwise

import pytest

from agent.daemon.signals import BEGIN, BUSY, ENDING, EXTENSION, LAST_COMMIT, Leaving
from agent.evacuation.phases import Phase
from tests.fakes.imds_time import play


class Heard:
    """A systemd that writes down what it is told, and when."""

    def __init__(self):
        self.said = []

    def extend(self, seconds):
        self.said.append((asyncio.get_running_loop().time(), seconds))

    def stopping(self):
        self.said.append("stopping")

    @property
    def extensions(self):
        return [one for one in self.said if one != "stopping"]


class Scene:
    """An evacuation in `phase`; `hurried` are the phases in which the copy was told to end."""

    def __init__(self, phase):
        self.phase = phase
        self.systemd = Heard()
        self.hurried = []
        self.commit_ends = True
        self.is_shut_down = False
        self.asked = 0
        self.begins = True
        self.leaving = Leaving(
            phase=lambda: self.phase, shut_down=self.shut_down, hurry=self.hurry, systemd=self.systemd
        )

    async def shut_down(self):
        self.asked += 1
        if self.is_shut_down and self.begins and self.phase not in BUSY:
            asyncio.get_running_loop().call_later(0.5, self.enter, Phase.DRAINING)
        return self.is_shut_down

    def hurry(self):
        self.hurried.append(self.phase)
        following = {Phase.DRAINING: Phase.COPYING, Phase.COPYING: Phase.COMMITTING}[self.phase]
        asyncio.get_running_loop().call_later(0.1, self.enter, following)
        if following is Phase.COMMITTING and self.commit_ends:
            asyncio.get_running_loop().call_later(3, self.enter, Phase.RELEASING)
            asyncio.get_running_loop().call_later(4, self.enter, Phase.RESTING)

    def enter(self, phase):
        self.phase = phase
        self.leaving.look()

    async def left_after(self, seconds):
        """Return how long it took to leave, None when it did not within `seconds`."""
        began = asyncio.get_running_loop().time()
        try:
            async with asyncio.timeout(seconds):
                await self.leaving.wait()
        except TimeoutError:
            return None
        return asyncio.get_running_loop().time() - began


def test_it_stays_until_it_is_told():
    async def story():
        assert await Scene(Phase.WATCHING).left_after(1e6) is None

    play(story)


@pytest.mark.parametrize("phase", sorted(set(Phase) - BUSY))
def test_one_signal_ends_it_when_nothing_is_being_saved(phase):
    async def story():
        scene = Scene(phase)
        scene.leaving.told()
        assert await scene.left_after(1) == 0
        assert scene.systemd.said == ["stopping"]

    play(story)


@pytest.mark.parametrize("phase", sorted(BUSY))
def test_one_signal_does_not_end_a_rescue(phase):
    async def story():
        scene = Scene(phase)
        scene.leaving.told()
        assert await scene.left_after(3600) is None
        assert scene.hurried == []

    play(story)


def test_systemd_always_knows_of_more_time_than_it_takes_to_ask_again():
    async def story():
        scene = Scene(Phase.COPYING)
        scene.leaving.told()
        await scene.left_after(200)
        asked = scene.systemd.extensions
        assert asked[0][1] == EXTENSION
        assert all(later - at <= granted / 2 for (at, granted), (later, _) in pairwise(asked))

    play(story)


def test_it_leaves_when_the_rescue_is_over():
    async def story():
        scene = Scene(Phase.COPYING)
        scene.leaving.told()
        asyncio.get_running_loop().call_later(75, scene.enter, Phase.RESTING)
        assert await scene.left_after(3600) == 75
        assert scene.systemd.said[-1] == "stopping"

    play(story)


@pytest.mark.parametrize("phase", [Phase.DRAINING, Phase.COPYING])
def test_a_second_signal_ends_the_copy_and_waits_for_the_commit(phase):
    async def story():
        scene = Scene(phase)
        scene.leaving.told()
        scene.leaving.told()
        took = await scene.left_after(3600)
        assert scene.phase is Phase.RESTING
        assert took < LAST_COMMIT
        assert scene.hurried[-1] is Phase.COPYING
        assert scene.systemd.extensions[-1][1] > LAST_COMMIT

    play(story)


def test_a_second_signal_ends_it_although_the_commit_does_not_end():
    async def story():
        scene = Scene(Phase.COPYING)
        scene.commit_ends = False
        scene.leaving.told()
        scene.leaving.told()
        assert await scene.left_after(3600) == LAST_COMMIT
        assert scene.systemd.said[-1] == "stopping"

    play(story)


def test_a_second_signal_long_after_the_first_counts_as_well():
    async def story():
        scene = Scene(Phase.COPYING)
        scene.leaving.told()
        asyncio.get_running_loop().call_later(500, scene.leaving.told)
        assert 500 < await scene.left_after(3600) < 500 + LAST_COMMIT

    play(story)


@pytest.mark.parametrize("phase", [Phase.WATCHING, Phase.RETURNING, Phase.RESTING])
def test_a_shutdown_with_work_on_the_node_is_waited_for_until_that_is_saved(phase):
    async def story():
        scene = Scene(phase)
        scene.is_shut_down = True
        scene.leaving.told()
        asyncio.get_running_loop().call_later(90, scene.enter, Phase.RESTING)
        assert await scene.left_after(3600) == 90
        assert scene.systemd.extensions

    play(story)


@pytest.mark.parametrize("phase", sorted(BUSY))
def test_a_shutdown_is_asked_for_in_a_rescue_that_waits_for_a_deadline_and_in_no_other(phase):
    async def story():
        scene = Scene(phase)
        scene.is_shut_down = True
        scene.leaving.told()
        asyncio.get_running_loop().call_later(30, scene.enter, Phase.RESTING)
        assert await scene.left_after(3600) == 30
        assert scene.asked == (phase not in ENDING)

    play(story)


def test_a_shutdown_that_the_policy_ignores_holds_nobody_up():
    async def story():
        scene = Scene(Phase.WATCHING)
        scene.is_shut_down = True
        scene.begins = False
        scene.leaving.told()
        assert await scene.left_after(3600) == BEGIN

    play(story)


def test_a_second_signal_during_a_shutdown_commits_what_is_there():
    async def story():
        scene = Scene(Phase.WATCHING)
        scene.is_shut_down = True
        scene.leaving.told()
        asyncio.get_running_loop().call_later(30, scene.leaving.told)
        assert 30 < await scene.left_after(3600) < 30 + LAST_COMMIT
        assert scene.phase is Phase.RESTING

    play(story)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_the_signals_of_the_process_are_heard(number):
    scene = Scene(Phase.WATCHING)
    scene.leaving.install()
    try:
        os.kill(os.getpid(), number)
        assert await scene.left_after(5) is not None
    finally:
        for installed in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().remove_signal_handler(installed)
