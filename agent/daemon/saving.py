"""What saving needs on this node and how far it is: the scratch, the bucket, receipts, the last head."""

import asyncio
import glob
import os
import re
from collections.abc import Mapping
from concurrent.futures import Executor
from pathlib import Path
from typing import Any, Final

from agent.copier.protocol import Message, Moved, Setup
from agent.daemon.capabilities import Capabilities, Name
from agent.errors import PermanentError
from agent.evacuation.churn import Churn
from agent.evacuation.estimate import Estimate, Look, estimate
from agent.evacuation.phases import Phase
from agent.evacuation.rate import Pace, Rate
from agent.evacuation.record import Record
from agent.evacuation.state import Saved
from agent.model.checkpoint import CheckpointId
from agent.model.progress import Progress
from agent.scratch.layers import container_layers
from agent.scratch.mount import is_mount, require_mount
from agent.settings import Settings

LOOK_SECONDS: Final = 2.0
"""Seconds for a look at the scratch: a disk that does not answer must not hold anything up."""

RECEIPTS: Final = re.compile(r"[0-9TZ.]+-[0-9a-f]{8}\.receipts\.jsonl(\.new)?")


def setup_of(settings: Settings) -> Setup:
    """Return what a copier has to know of the settings."""
    s3 = settings.s3
    return Setup(
        paths=list(settings.scratch.paths),
        exclude=list(settings.scratch.exclude),
        priority=list(settings.scratch.priority),
        bucket=s3.bucket,
        prefix=s3.prefix,
        expected_bucket_owner=s3.expected_bucket_owner,
        kms_key_id=s3.kms_key_id,
        region=settings.aws.region,
        endpoint=settings.aws.s3_endpoint,
        ca_bundle=settings.aws.ca_bundle,
        retention=s3.retention.total_seconds(),
        connections=s3.connections,
        most_connections=s3.most_connections,
        part_size=s3.part_size,
        pack_below=settings.checkpoint.pack_below,
        pack_size=settings.checkpoint.pack_size,
    )


class CannotSave(PermanentError):
    """There is no scratch here, or nothing says where to save it."""


class Saving:
    """The saving side as control knows it. `directory` is None when there is no state directory."""

    def __init__(
        self, settings: Settings, *, capabilities: Capabilities, directory: Path | None, executor: Executor
    ) -> None:
        self._settings = settings
        self._executor = executor
        self._capabilities = capabilities
        self._directory = directory
        self._looking: asyncio.Future[int | None] | None = None
        self._used_at = 0.0
        self.used: int | None = None
        """Bytes on the scratch; None where it is not known: it has to be a file system of its own for that."""
        self.layers: tuple[str, ...] = ()
        """Container layers on the scratch, relative to its paths: they are left out."""
        self.layer_bytes: int | None = None
        """What they take of the disk; None is not known."""
        self.found: Look | None = None
        """What was unsaved when somebody last looked at the tree."""
        self.churn = Churn()
        """How much jobs change."""
        self.last: Saved | None = None
        self.progress: Progress | None = None
        self.rate = Rate()
        self.pace = Pace()

    async def look(self) -> None:
        """Find out whether there is a scratch and a bucket. Mounts come and go: ParallelCluster's comes after us."""
        if self._settings.s3.bucket:
            self._capabilities.on(Name.BUCKET, f"s3://{self._settings.s3.bucket}/{self._settings.s3.prefix}")
        else:
            self._capabilities.off(Name.BUCKET, "no bucket is set", "set s3.bucket: nothing can be saved without one")
        try:
            # One look at a time: each that a dead disk holds up keeps a thread of the executor.
            if self._looking is None:
                self._looking = asyncio.get_running_loop().run_in_executor(self._executor, self._check_scratch)
            async with asyncio.timeout(LOOK_SECONDS):
                self.used = await asyncio.shield(self._looking)
                self._used_at = asyncio.get_running_loop().time()
        except TimeoutError:
            self._capabilities.off(Name.SCRATCH, f"no answer within {LOOK_SECONDS:g} s", "does its disk still work?")
            return
        except PermanentError as error:
            self._capabilities.off(Name.SCRATCH, f"{error.subject}: {error.detail}", error.hint)
        else:
            self._capabilities.on(Name.SCRATCH, ", ".join(self._settings.scratch.paths))
        self._looking = None

    def estimate(self) -> Estimate | None:
        """Return what a notice would cost now; None when nothing is known to go by."""
        return estimate(look=self.found, used=self.used, used_at=self._used_at, rate=self.pace.per_second)

    @property
    def may_lose(self) -> bool:
        """Whether there may be files to save, as far as is known without a look at the disk."""
        return all(self._capabilities[name].on is not False for name in (Name.SCRATCH, Name.BUCKET))

    def terms(self) -> Mapping[str, Any]:
        """Return what every copy of this scratch, and every look at it, is told: what it builds on and leaves out.

        The `cache` is a directory where a copier finds what the last head holds, empty where there is none.
        """
        return {"cache": str(self.keep("base") or ""), "exclude": [glob.escape(name) for name in self.layers]}

    @property
    def layer_paths(self) -> list[str]:
        """The complete paths of `layers`, as far as they can be."""
        return [str(Path(path, name)) for path in self._settings.scratch.paths for name in self.layers]

    def keep(self, name: str) -> Path | None:
        """Return the path of what is kept under this name, None when nothing can be."""
        return None if self._directory is None else self._directory / name

    def _check_scratch(self) -> int | None:
        used: int | None = 0
        paths = [Path(path) for path in self._settings.scratch.paths]
        self.layers = container_layers(paths, self._settings.scratch.container_layers)
        for path in paths:
            if self._settings.scratch.require_mount:
                require_mount(path)
            elif not path.is_dir():
                raise PermanentError("look for", str(path), "there is no such directory", hint="set scratch.paths")
            disk = os.statvfs(path)
            held = (disk.f_blocks - disk.f_bfree) * disk.f_frsize
            used = used + held if used is not None and is_mount(path) else None
        return used

    async def refusal(self) -> PermanentError | None:
        """Return why nothing can be saved now, None when it can."""
        await self.look()
        for name, subject in ((Name.SCRATCH, "the scratch"), (Name.BUCKET, "the bucket")):
            known = self._capabilities[name]
            if known.on is False:
                return CannotSave("use", subject, known.detail, hint=known.hint)
        return None

    def receipts(self, checkpoint: CheckpointId) -> str:
        """Return the path of the receipts of `checkpoint`, empty when none can be kept."""
        return "" if self._directory is None else str(self._directory / f"{checkpoint}.receipts.jsonl")

    def looked(self, look: Look) -> None:
        """Take what a look at the tree has found."""
        self.found = look
        self.churn.add(look)

    def moved(self, message: Message, *, at: float, is_limited: bool = False) -> None:
        """Take what a copier tells; one that is limited does not tell how fast a rescue would be."""
        if isinstance(message, Moved):
            self.progress = message.progress
            self.rate.add(at, message.progress.bytes_done)
            if not is_limited:
                self.pace.add(at, message.progress.bytes_sent)

    def committed(self, saved: Saved, *, at: float) -> None:
        """Take a head that S3 has acknowledged; after a complete one nothing is unsaved."""
        self.last = saved
        if saved.complete:
            self.found = Look(at=at, files=0, bytes=0, used=self.used)

    def step(self, record: Record) -> None:
        """Begin anew with a new evacuation."""
        if record.state.phase is Phase.DRAINING and record.state.saved is None:
            self.progress, self.rate = None, Rate()


def forget_receipts(directory: Path, keep: CheckpointId | None) -> None:
    """Remove the receipts of evacuations that are over. Raises OSError."""
    for path in directory.iterdir():
        if RECEIPTS.fullmatch(path.name) and not (keep and path.name.startswith(keep)):
            path.unlink(missing_ok=True)
