"""Stand-ins with state for what an evacuation touches: a Slurm node, a copier, who we are."""

import asyncio
import time
from dataclasses import asdict

from agent.copier.protocol import Committed, Copied, Moved, Recorded, Saved, Scanned, Waiting
from agent.daemon.copier import CopierGone, CopierRefused
from agent.model.checkpoint import Left, Totals
from agent.model.drain import Drain, NodeState
from agent.model.node import BootId, InstanceId, Node, NodeName
from agent.model.progress import Progress
from agent.slurm.errors import SlurmUnavailable

ME = Node(
    name=NodeName("n1"),
    cluster="lab-0badcafe",
    instance_id=InstanceId("i-0123456789abcdef0"),
    boot_id=BootId("1a2b3c4d-0000-0000-0000-000000000000"),
    writer="AROAEXAMPLE:i-0123456789abcdef0",
)


class FakeSlurmNode:
    """A node whose controller can be down for `down` more calls, and whose drain can be somebody else's."""

    name = "n1"

    def __init__(self, *, down=0, drain=Drain.NONE, silent=False, idle=False):
        self.idle = idle
        self.down = down
        self.silent = silent
        self.standing = drain
        self.reasons = []
        self.asked_at = []

    async def drain(self, reason, *, hold=None):
        await self._answer()
        if self.idle and hold is not None and self.standing is Drain.NONE:
            await hold(NodeState(name="n1", base="IDLE", flags=frozenset()))
        if self.standing is not Drain.THEIRS:
            self.standing = Drain.OURS
            self.reasons.append(str(reason))
        return self.standing

    async def lift(self, *, instance_id, boot_id, has_live_notice=False):
        await self._answer()
        if self.standing is Drain.OURS and has_live_notice is False:
            self.standing = Drain.NONE
        return self.standing

    async def _answer(self):
        self.asked_at.append(asyncio.get_running_loop().time())
        if self.silent:
            await asyncio.Event().wait()
        if self.down:
            self.down -= 1
            await asyncio.sleep(9)  # as scontrol does with a controller that refuses connections
            raise SlurmUnavailable("scontrol", "show node", "Unable to contact slurm controller")


class FakeHold:
    """What Slurm does with holds: `did` are times and words; it refuses, or hangs, or does not take one back."""

    def __init__(self, *, refuses=False, hangs=False, keeps=False):
        self.refuses, self.hangs, self.keeps = refuses, hangs, keeps
        self.did = []

    def __call__(self, node):
        return self

    async def begin(self, state, *, minutes):
        self._did("begin", minutes)
        if self.hangs:
            await asyncio.Event().wait()
        if self.refuses:
            raise SlurmUnavailable("salloc", "--no-shell", "Unable to allocate resources: Connection timed out")

    async def end(self):
        self._did("end")
        if self.keeps:
            raise SlurmUnavailable("scancel", "--name", "Unable to contact slurm controller")

    def _did(self, *words):
        self.did.append((asyncio.get_running_loop().time(), *words))


class FakeCopier:
    """Copies `files` of one byte, `seconds` each, and commits after each; dies or stalls when told to."""

    def __init__(self, *, files=3, seconds=1.0, stalls_at=None, dies_at=None, refusals=0, commits=True):
        self.files = files
        self.seconds = seconds
        self.stalls_at = stalls_at
        self.dies_at = dies_at
        self.refusals = refusals
        self.commits = commits
        self.done = 0
        self.n = 0
        self.saves = []
        self.records = []
        self.moves = []
        self.ended = 0
        self.running = False

    async def save(self, command, listen):
        self.running = True
        self.saves.append(command)
        if self.refusals:
            self.refusals -= 1
            raise CopierRefused("ask", "the copier", "put: AccessDenied", hint="allow s3:PutObject")
        while self.done < self.files:
            if self.done == self.stalls_at:
                listen(Waiting(what="put: no answer", hint="is S3 reachable?"))
                await asyncio.Event().wait()
            if self.done == self.dies_at:
                self.dies_at = None
                self.running = False
                raise CopierGone("ask", "the copier", "it died (-9)")
            await asyncio.sleep(self.seconds)
            self.done += 1
            listen(Moved(progress=Progress(files_total=self.files, files_done=self.done, bytes_done=self.done)))
            if self.commits:
                listen(Committed(saved=self._head(command)))
        return Copied()

    def move(self, until):
        if self.running:
            self.moves.append(until)

    async def finish(self, listen):
        if not self.running:
            raise CopierGone("ask", "the copier", "it is not running")
        if not self.commits:
            await asyncio.Event().wait()
        return Saved(saved=self._head(self.saves[-1]))

    async def scan(self, command, listen):
        self.running = True
        if self.refusals:
            self.refusals -= 1
            raise CopierRefused("ask", "the copier", "open: no such directory")
        left = self.files - self.done
        return Scanned(
            files=left,
            bytes=left,
            oldest=time.time() if left else None,
            total_files=self.files,
            total_bytes=self.files,
            seconds=0.1,
            cpu_seconds=0.1,
        )

    async def record(self, command, listen):
        if not self.commits:
            await asyncio.Event().wait()
        self.records.append(command)
        listen(Recorded(name=command.name))

    async def end(self):
        self.running = False
        self.ended += 1

    def _head(self, command):
        self.n += 1
        return {
            "checkpoint": command.checkpoint,
            "n": self.n,
            "key": f"checkpoints/{self.n}",
            "digest": "d",
            "complete": self.done == self.files,
            "created_at": "2026-11-23T09:15:00.000Z",
            "totals": asdict(Totals(files=self.done, bytes=self.done)),
            "left": asdict(Left(files=self.files - self.done)),
        }


class FakeWhoami:
    """Knows everything at once."""

    def __init__(self, slurm):
        self.slurm = slurm
        self.instance_id = ME.instance_id
        self.boot_id = ME.boot_id

    async def slurm_node(self):
        return self.slurm

    async def node(self):
        return ME
