"""A stand-in for the files of the node's jobs: what is vouched for, when, and what goes wrong with it."""

import asyncio

from agent.daemon.jobfiles import life_here
from agent.jobs.record import record_of
from agent.slurm.errors import SlurmUnavailable


class FakeFiles:
    """`jobs` is a FakeJobs. `vouched` are time, refs and head; `hangs` is for ever, `down` refuses to be asked."""

    def __init__(self, jobs, *, hangs=False, down=False, refuses=""):
        self.jobs, self.hangs, self.down, self.refuses = jobs, hangs, down, refuses
        self.vouched = []

    async def all(self):
        if self.down:
            raise SlurmUnavailable("squeue", "-h", "Unable to contact slurm controller")
        return list(self.jobs.jobs.values())

    async def has_ended_here(self, job):
        return await self.jobs.has_ended_here(job)

    async def records(self, jobs, *, quiesced=()):
        return [
            record_of(one, jobs, life=life_here(one), rank=0, templates=[], quiesced=one.ref in quiesced)
            for one in jobs
        ]

    async def vouch(self, records, saved):
        if self.hangs:
            await asyncio.Event().wait()
        await asyncio.sleep(0.5)
        self.vouched.append((asyncio.get_running_loop().time(), [str(one.job) for one in records], saved.key))
        return [self.refuses] if self.refuses else []
