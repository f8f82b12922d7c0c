"""A stand-in with state for the jobs of a node: they run, are stopped, end after KillWait, come back to Slurm."""

import asyncio
from dataclasses import replace

from agent.chance import SeededChance
from agent.daemon.jobwork import JobWork
from agent.model.job import Job, Wishes
from agent.slurm.errors import SlurmUnavailable
from agent.slurm.held import Times
from agent.slurm.requeue import Requeued, Verdict


def job(id_=7, **values):
    """A batch job of alice's that Slurm would take back."""
    usual = {
        "uid": 4242,
        "user": "alice",
        "state": "RUNNING",
        "is_batch": True,
        "is_requeueable": True,
        "restarts": 0,
        "nodes": 1,
        "node_list": "n1",
    }
    return Job(id=id_, **{**usual, **values})


NOTHING = Wishes(signal="")


def job_work(whoami, jobs, *, is_barrier=False, default=NOTHING):
    """What an evacuation does to `jobs`, in a daemon with the usual margin."""
    return JobWork(
        whoami=whoami,
        slurm=lambda node: jobs,
        is_barrier=lambda: is_barrier,
        safety_margin=15.0,
        default=default,
        chance=SeededChance(3),
    )


class FakeJobs:
    """The jobs of the node. `did` are the times and words of what was done; `down` more calls fail; `verdict` is the
    answer to a requeue; a requeued job keeps its processes for `ends_after` seconds. `is_silent`: slurmctld is asked in
    vain, what this node does by itself goes on.
    """

    def __init__(self, *jobs, kill_wait=30.0, ends_after=0.0, verdict=Verdict.OURS, down=0):
        self.jobs = {one.ref: one for one in jobs}
        self.kill_wait = kill_wait
        self.ends_after = ends_after
        self.verdict = verdict
        self.down = down
        self.did = []
        self.frozen = set()
        self.gone_at = {}
        self.is_silent = False

    def words(self, *verbs):
        return [" ".join(word) for _, *word in self.did if not verbs or word[0] in verbs]

    def at(self, *word):
        return next(at for at, *done in self.did if tuple(done) == word)

    def ends(self, ref):
        """A job ends by itself."""
        del self.jobs[ref]

    async def all(self):
        self._answer()
        return list(self.jobs.values())

    async def times(self):
        self._answer()
        return Times(kill_wait=self.kill_wait)

    async def requeue(self, ref, *, life):
        if self.is_silent:
            await asyncio.sleep(10)
            raise SlurmUnavailable("squeue", "-h", "no answer within 10 s")
        self._answer()
        self._did("requeue", ref)
        if self.verdict is Verdict.OURS and ref in self.jobs:
            one = self.jobs[ref]
            assert one.restarts == life, "once per life"
            self.jobs[ref] = replace(one, state="COMPLETING", restarts=life + 1)
            self.gone_at[one.id] = asyncio.get_running_loop().time() + self.ends_after
            self.frozen.discard(one.id)
        return Requeued(verdict=self.verdict, why="" if self.verdict is Verdict.OURS else "so it is")

    async def freeze(self, job, *, uid):
        self._answer()
        self._did("freeze", str(job))
        self.frozen.add(job)

    async def thaw(self, job, *, uid):
        self._answer()
        self._did("thaw", str(job))
        self.frozen.discard(job)

    async def has_ended_here(self, job):
        self._answer()
        return asyncio.get_running_loop().time() >= self.gone_at.get(job, float("inf"))

    async def signal(self, ref, name):
        self._answer()
        self._did("signal", ref, name)

    async def notify(self, ref, text):
        self._answer()
        self._did("notify", ref, text)

    def _did(self, *words):
        self.did.append((asyncio.get_running_loop().time(), *words))

    def _answer(self):
        if self.down:
            self.down -= 1
            raise SlurmUnavailable("squeue", "-h", "Unable to contact slurm controller")
