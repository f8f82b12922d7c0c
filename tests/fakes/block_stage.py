"""One node of a Capacity Block, from EC2's answer to the drain: source, watcher, runner and works over fakes."""

import asyncio
import contextlib
from datetime import timedelta

from agent.chance import SeededChance
from agent.daemon import blocks
from agent.daemon.capabilities import Capabilities
from agent.daemon.rescued import Rescued
from agent.daemon.runner import Runner
from agent.daemon.works import Works
from agent.evacuation.state import Effects, Evacuation
from agent.model.mode import Mode
from agent.notices.capacity_block import CapacityBlockSource
from agent.notices.watcher import Watcher
from tests.fakes.ahead import leading
from tests.fakes.block import FakeEc2
from tests.fakes.imds import FakeMetadata
from tests.fakes.imds_time import START, LoopClock
from tests.fakes.jobs import FakeJobs, job_work
from tests.fakes.node import ME, FakeCopier, FakeSlurmNode, FakeWhoami


class Stage:
    """One node of a block whose EndDate is `hours` after START; `phases` are those entered, in seconds since START."""

    def __init__(self, *, hours, instance_id=ME.instance_id, seed=1, processes=None):
        self.ec2 = FakeEc2(START + timedelta(hours=hours))
        self.slurm = FakeSlurmNode()
        self.copier = FakeCopier()
        self.clock = LoopClock()
        self.began = asyncio.get_running_loop().time()
        self.phases = []
        document = f'{{"instanceId":"{instance_id}","instanceType":"p5.48xlarge"}}'.encode()
        imds = FakeMetadata(
            {"dynamic/instance-identity/document": document, "meta-data/instance-life-cycle": b"capacity-block"}
        )
        self.capabilities = Capabilities(self.clock, lambda name, known: None)
        self.source = CapacityBlockSource(
            imds,
            processes=processes or self.ec2,
            clock=self.clock,
            changed=lambda: blocks.show(self.source, self.capabilities),
        )
        self.runner = self._make_runner()
        self.watcher = Watcher(
            self.source,
            report=lambda noticed: self.runner.noticed(noticed.source, noticed.notices),
            clock=self.clock,
            chance=SeededChance(seed + 1),
        )

    def _make_runner(self):
        whoami = FakeWhoami(self.slurm)
        works = Works(
            hold=None,
            may_lose=lambda: False,
            whoami=whoami,
            copier=self.copier,
            leading=leading(),
            moved=lambda message: None,
            heard=lambda: self.watcher.health.last_success is not None,
            receipts=lambda checkpoint: f"/state/{checkpoint}",
            terms=dict,
            safety_margin=15.0,
            cannot_save=self._can_save,
            clock=self.clock,
            chance=SeededChance(1),
            jobs=job_work(whoami, FakeJobs()),
            rescued=Rescued(lambda: None, gone=()),
            current=lambda: self.runner.state,
            measured=lambda found: None,
        )
        return Runner(
            Evacuation(effects=Effects.of(Mode.ACT)),
            performers=works.performers,
            clock=self.clock,
            chance=SeededChance(2),
            safety_margin=15.0,
            step=self._step,
        )

    async def _can_save(self):
        return None

    def _step(self, record):
        if not self.phases or self.phases[-1][0] is not record.state.phase:
            self.phases.append((record.state.phase, record.event.at - self.began))

    def entered(self, phase):
        """Seconds since START at which `phase` was entered last."""
        return [at for name, at in self.phases if name is phase][-1]

    @contextlib.asynccontextmanager
    async def running(self):
        tasks = [asyncio.create_task(self.runner.run()), asyncio.create_task(self.watcher.run())]
        self.runner.started()
        try:
            yield self
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def until(self, seconds):
        await asyncio.sleep(self.began + seconds - asyncio.get_running_loop().time())
