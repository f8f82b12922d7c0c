"""A disk of files without bytes, copiers that save it, and what saves ahead from it: gigabytes in simulated time."""

import asyncio
from dataclasses import asdict, dataclass, field
from pathlib import Path

from agent.copier.protocol import Committed, Copied, Moved, Recorded, Saved, Scanned
from agent.daemon.allowance import Allowance
from agent.daemon.capabilities import Capabilities
from agent.daemon.copier import CopierGone
from agent.daemon.leading import Leading, Place
from agent.daemon.saving import Saving
from agent.model.checkpoint import Left, Totals
from agent.model.progress import Progress
from agent.settings import load
from tests.fakes.imds_time import LoopClock
from tests.fakes.node import FakeCopier, FakeWhoami

ID = "20261123T120000.000Z-0000aaaa"


@dataclass
class Disk:
    """Files by name: size and when they changed (seconds since 1970); and what a head holds of them."""

    clock: LoopClock
    files: dict[str, tuple[int, float]] = field(default_factory=dict)
    stored: dict[str, tuple[int, float]] = field(default_factory=dict)
    sent: list[str] = field(default_factory=list)

    def write(self, name, size, *, age=0.0):
        self.files[name] = (size, self.clock.now().timestamp() - age)

    @property
    def used(self):
        return sum(size for size, _ in self.files.values())

    @property
    def unsaved(self):
        """Names that are new or changed, the oldest change first."""
        names = [name for name, found in self.files.items() if self.stored.get(name) != found]
        return sorted(names, key=lambda name: (self.files[name][1], name))


class DiskCopier:
    """Sends whole files, one after the other, at `rate` bytes a second, and commits each."""

    def __init__(self, disk, *, rate=200e6, cpu_seconds=0.5, dies=0):
        self.disk = disk
        self.rate = rate
        self.cpu_seconds = cpu_seconds
        self.dies = dies
        self.saves = []
        self.heads = 0
        self.scans = []
        self.layers = []
        self.records = []
        self.running = False

    async def scan(self, command, listen):
        self.running = True
        self.scans.append(asyncio.get_running_loop().time())
        self.layers.append(list(command.layers))
        if self.dies:
            self.dies -= 1
            raise CopierGone("ask", "the copier", "it died (-9)")
        await asyncio.sleep(self.cpu_seconds)
        names, files, now = self.disk.unsaved, self.disk.files, self.disk.clock.now().timestamp()
        return Scanned(
            files=len(names),
            bytes=sum(files[name][0] for name in names),
            oldest=files[names[0]][1] if names else None,
            by_age=[(max(0.0, now - files[name][1]), files[name][0]) for name in names],
            total_files=len(files),
            total_bytes=self.disk.used,
            layer_bytes=7 * len(command.layers),
            seconds=self.cpu_seconds,
            cpu_seconds=self.cpu_seconds,
        )

    async def save(self, command, listen):
        self.running = True
        self.saves.append(command)
        sent, names = 0, self.disk.unsaved
        total = sum(self.disk.files[name][0] for name in names)
        for name in names:
            size, changed_at = self.disk.files[name]
            is_young = command.changed_before is not None and changed_at > command.changed_before
            if is_young or (command.most_bytes is not None and sent >= command.most_bytes):
                continue
            await asyncio.sleep(size / self.rate)
            sent += size
            self.disk.sent.append(name)
            self.disk.stored[name] = (size, changed_at)
            listen(Moved(progress=Progress(bytes_total=total, bytes_sent=sent, bytes_done=sent, walked=True)))
            listen(Committed(saved=self._head(complete=False)))
        return Copied()

    def move(self, until):
        pass

    async def finish(self, listen):
        return Saved(saved=self._head(complete=not self.disk.unsaved))

    async def record(self, command, listen):
        self.records.append(command)
        listen(Recorded(name=command.name))

    async def end(self):
        self.running = False

    def _head(self, *, complete):
        names = self.disk.unsaved
        left = Left(files=len(names), bytes=sum(self.disk.files[name][0] for name in names))
        self.heads += 1
        return {
            "checkpoint": self.saves[-1].checkpoint,
            "n": self.heads,
            "key": f"checkpoints/{self.heads}",
            "digest": "d",
            "complete": complete,
            "created_at": "2026-11-23T09:15:00.000Z",
            "totals": asdict(Totals(files=len(self.disk.stored))),
            "left": asdict(left),
        }


def settings(**checkpoint):
    return load(Path("/dev/null"), {f"HPC_AGENT_CHECKPOINT__{key.upper()}": text for key, text in checkpoint.items()})


def leading(copier=None, *, clock=None, place=None, refusal=None, path=None, used=None, executor=None, **checkpoint):
    """Return what saves ahead with `copier`, on a Spot node with a job unless `place` says otherwise."""
    clock, known = clock or LoopClock(), settings(**checkpoint)
    saving = Saving(known, capabilities=Capabilities(clock, lambda *_: None), directory=None, executor=executor)
    saving.used = used

    async def refuse():
        return refusal

    one = Leading(
        known,
        copier=copier or FakeCopier(),
        whoami=FakeWhoami(None),
        saving=saving,
        allowance=Allowance(path, clock=clock, executor=executor),
        place=place or spot,
        refusal=refuse,
        fresh=lambda: ID,
        moved=lambda message: saving.moved(message, at=asyncio.get_running_loop().time()),
        clock=clock,
    )
    one.saving = saving
    return one


def spot(**parts):
    return Place(
        **({"is_free": True, "is_spot": True, "block_taken_at": None, "has_jobs": True, "may_save": True} | parts)
    )
