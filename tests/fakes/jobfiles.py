"""A stand-in for the files of the node's jobs: what is vouched for, when, and what goes wrong with it."""

import asyncio

from agent.daemon.jobfiles import life_here
from agent.jobs.record import record_of
from agent.processes import Finished
from agent.slurm.errors import SlurmUnavailable
from agent.slurm.jobs import COLUMNS


class FakeFiles:
    """`jobs` is a FakeJobs. `vouched` are time, refs and head, each once: what stands is not written again.

    `hangs` is for ever, `down` refuses to be asked.
    """

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

    async def vouch(self, records, saved, *, until):
        if self.hangs:
            await asyncio.Event().wait()
        refs = [str(one.job) for one in records]
        if (refs, saved.key) not in [tuple(word) for _, *word in self.vouched]:
            await asyncio.sleep(0.5)
            self.vouched.append((asyncio.get_running_loop().time(), refs, saved.key))
        return [self.refuses] if self.refuses else []


class Children:
    """squeue and scontrol as children: AdminComments by job; a job in `gone` is unknown.

    `jobs` are the columns that squeue shows of those on the node. So many calls fail at first as are `down`, and all
    until the time `silent_until`.
    """

    def __init__(self, gone=(), jobs=(), restarts=0, state="RUNNING", *, down=0, silent_until=0.0):
        self.comments, self.gone, self.jobs, self.restarts, self.state = {}, gone, jobs, restarts, state
        self.down, self.silent_until, self.writes = down, silent_until, []

    async def run(self, argv, **_options):
        now = asyncio.get_running_loop().time()
        if self.down or now < self.silent_until:
            self.down = max(0, self.down - 1)
            return Finished(code=1, out="", err="slurm_load_jobs error: Unable to contact slurm controller\n")
        if argv[1:3] == ["show", "hostnames"]:
            return Finished(code=0, out="n1\nn2\n", err="")
        if argv[1] == "update":
            self.writes.append(now)
            self.comments[argv[2].removeprefix("JobId=")] = argv[3].removeprefix("AdminComment=")
            return Finished(code=0, out="", err="")
        if "-w" in argv:
            columns = [
                "".join(f"{value:<{width}}" for value, width in zip(job, COLUMNS.values(), strict=True))
                for job in self.jobs
            ]
            return Finished(code=0, out="\n".join(columns) if "UserID" in argv[-1] else "", err="")
        job = argv[argv.index("-j") + 1]
        if job in self.gone:
            return Finished(code=1, out="", err="slurm_load_jobs error: Invalid job id specified\n")
        return Finished(code=0, out=f"{self.restarts:<16}{self.state:<24}{self.comments.get(job, ''):<65536}\n", err="")
