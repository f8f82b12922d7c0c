import asyncio

import pytest

from agent.daemon.barrier import BarrierWatch
from agent.daemon.capabilities import Capabilities, Name
from agent.processes import Finished
from agent.slurm.errors import SlurmUnavailable
from tests.fakes.imds_time import LoopClock, play
from tests.fakes.node import FakeSlurmNode, FakeWhoami


class Slurm(FakeSlurmNode):
    """A node whose cluster has this configuration; one that is away does not answer."""

    def __init__(self, config):
        super().__init__()
        self.config, self.looks = config, 0

    @property
    def scontrol(self):
        return self

    async def show_config(self):
        self.looks += 1
        if self.config is None:
            raise SlurmUnavailable("scontrol", "show config", "Unable to contact slurm controller")
        return self.config


class Found:
    async def run(self, argv, **_options):
        return Finished(code=0, out=f"{argv[-1]}\n", err="")


def watched(config, *, is_idle=True, seconds=1.0, name=Name.BARRIER):
    async def scene():
        capabilities, slurm = Capabilities(LoopClock(), lambda name, known: None), Slurm(config)
        watch = BarrierWatch(
            whoami=FakeWhoami(slurm), processes=Found(), capabilities=capabilities, is_idle=lambda: is_idle
        )
        task = asyncio.create_task(watch.run())
        await asyncio.sleep(seconds)
        task.cancel()
        return watch, capabilities[name], slurm.looks

    return play(scene)


@pytest.mark.parametrize(
    ("config", "is_up", "said"),
    [
        ("Epilog = /etc/epilog.sh\n", True, "waits for the agent"),
        ("Epilog = /etc/epilog.sh\nPrologEpilogTimeout = 300 sec\n", True, "waits for the agent"),
        ("Epilog = /etc/epilog.sh\nPrologEpilogTimeout = 30 sec\n", False, "ends an Epilog after 30 s"),
        ("Epilog = (null)\n", False, "no barrier"),
        (None, False, "no barrier"),
    ],
)
def test_only_an_epilog_that_can_wait_is_a_barrier(config, is_up, said):
    watch, shown, _ = watched(config)
    assert watch.is_up is is_up
    assert shown.on is is_up
    assert said in shown.detail


def test_an_evacuation_goes_on_by_what_was_known_when_it_began():
    assert watched("Epilog = /a\n", is_idle=False, seconds=2000)[2] == 1
    assert watched("Epilog = /a\n", seconds=2000)[2] > 3
    assert watched(None, is_idle=False, seconds=100)[2] > 5


@pytest.mark.parametrize(
    ("config", "is_on", "said"),
    [
        ("Epilog = /a\nProlog = /b\n", True, "gives jobs their files back"),
        ("Epilog = /a\nProlog = (null)\n", False, "no Prolog of Slurm calls the agent"),
        (None, None, ""),
    ],
)
def test_a_prolog_that_is_missing_is_told_where_the_epilog_is_there(config, is_on, said):
    _, shown, _ = watched(config, name=Name.PROLOG)
    assert shown.on is is_on
    assert said in shown.detail
