"""One daemon's runner and works over fakes, for simulated time."""

import asyncio
import contextlib
from datetime import timedelta

from agent.chance import SeededChance
from agent.daemon.replanning import Replanning
from agent.daemon.rescued import Rescued
from agent.daemon.runner import Runner
from agent.daemon.works import Works
from agent.evacuation.state import Effects, Evacuation
from agent.model.mode import Mode
from agent.model.notice import Notice, NoticeKind
from tests.fakes.ahead import leading
from tests.fakes.imds_time import START, LoopClock
from tests.fakes.jobs import NOTHING, FakeJobs, job_work
from tests.fakes.node import FakeCopier, FakeHold, FakeSlurmNode, FakeWhoami


class Scene:
    """One daemon's runner and works over fakes; `steps` are what its journal would hold."""

    def __init__(
        self,
        *,
        slurm=None,
        copier=None,
        mode=Mode.ACT,
        state=None,
        refusal=None,
        jobs=None,
        is_barrier=False,
        files=None,
        default=NOTHING,
        cache="/state/base",
        hold=None,
        may_lose=True,
    ):
        self.jobs = jobs or FakeJobs()
        self.slurm = slurm or FakeSlurmNode()
        self.copier = copier or FakeCopier()
        self.ahead = FakeCopier()
        self.refusal = refusal
        self.hold = hold or FakeHold()
        self.heard = True
        self.steps = []
        self.clock = LoopClock()
        whoami, ahead = FakeWhoami(self.slurm), leading(self.ahead)
        self.saving = ahead.saving
        self.replanning = Replanning(
            self.saving,
            current=lambda: self.runner.state,
            planned=lambda seconds: self.runner.planned(delta_seconds=seconds),
            safety_margin=15.0,
        )
        work = job_work(whoami, self.jobs, is_barrier=is_barrier, default=default)
        self.works = Works(
            whoami=whoami,
            copier=self.copier,
            leading=ahead,
            moved=self._moved,
            heard=lambda: self.heard,
            receipts=lambda checkpoint: f"/state/{checkpoint}",
            terms=lambda: {"cache": cache},
            safety_margin=15.0,
            cannot_save=self._cannot_save,
            clock=self.clock,
            chance=SeededChance(1),
            jobs=work,
            rescued=Rescued(lambda: files, gone=work.gone),
            current=lambda: self.runner.state,
            measured=self.replanning.looked,
            hold=self.hold,
            may_lose=lambda: may_lose,
        )
        self.runner = Runner(
            state or Evacuation(effects=Effects.of(mode)),
            performers=self.works.performers,
            clock=self.clock,
            chance=SeededChance(2),
            safety_margin=15.0,
            step=self._step,
        )

    def _step(self, record):
        self.steps.append(record)
        self.works.follow(record.state)

    def _moved(self, message):
        self.saving.moved(message, at=asyncio.get_running_loop().time())
        self.replanning.moved()

    async def _cannot_save(self):
        return self.refusal

    @contextlib.asynccontextmanager
    async def running(self):
        task = asyncio.create_task(self.runner.run(), name="runner")
        self.runner.started()
        await asyncio.sleep(0.01)
        try:
            yield self
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    def notice(self, seconds=120.0, *, kind=NoticeKind.SPOT_TERMINATE, code="", source="spot"):
        now = asyncio.get_running_loop().time()
        spot = Notice(
            id=f"{source}:i-0",
            kind=kind,
            code=code,
            ends_at=START + timedelta(seconds=seconds),
            due=now + seconds,
            seen_at=START,
            source=source,
        )
        self.runner.noticed(source, frozenset({spot}))
        return spot

    def withdraw(self, source="spot"):
        self.runner.noticed(source, frozenset())

    async def until(self, phase, within=1000.0):
        async with asyncio.timeout(within):
            while self.runner.state.phase is not phase:  # noqa: ASYNC110 - time is simulated: a look costs nothing
                await asyncio.sleep(0.05)

    @property
    def phases(self):
        seen = []
        for record in self.steps:
            if not seen or seen[-1] is not record.state.phase:
                seen.append(record.state.phase)
        return seen
