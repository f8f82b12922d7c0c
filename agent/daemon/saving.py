"""What saving needs on this node and how far it is: the scratch, the bucket, receipts, the last head."""

import asyncio
import os
import re
from concurrent.futures import Executor
from pathlib import Path
from typing import Final

from agent.copier.protocol import Message, Moved
from agent.daemon.capabilities import Capabilities, Name
from agent.errors import PermanentError
from agent.evacuation.phases import Phase
from agent.evacuation.plan import estimate
from agent.evacuation.rate import Rate
from agent.evacuation.record import Record
from agent.evacuation.state import Saved
from agent.model.checkpoint import CheckpointId
from agent.model.progress import Progress
from agent.scratch.mount import is_mount, require_mount
from agent.settings import Settings

LOOK_SECONDS: Final = 2.0
"""Seconds for a look at the scratch: a disk that does not answer must not hold anything up."""

RECEIPTS: Final = re.compile(r"[0-9TZ.]+-[0-9a-f]{8}\.receipts\.jsonl(\.new)?")


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
        self._looking: asyncio.Future[int] | None = None
        self.used = 0
        """Bytes on the scratch file systems, as far as they are file systems of their own."""
        self.last: Saved | None = None
        self.progress: Progress | None = None
        self.rate = Rate()

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
        except TimeoutError:
            self._capabilities.off(Name.SCRATCH, f"no answer within {LOOK_SECONDS:g} s", "does its disk still work?")
            return
        except PermanentError as error:
            self._capabilities.off(Name.SCRATCH, f"{error.subject}: {error.detail}", error.hint)
        else:
            self._capabilities.on(Name.SCRATCH, ", ".join(self._settings.scratch.paths))
        self._looking = None

    def estimate(self) -> float:
        """Return how many seconds saving everything would take, at the rate last measured; 0 when none was."""
        return estimate(used=self.used, bytes_per_second=self.rate.per_second)

    def _check_scratch(self) -> int:
        used = 0
        for path in map(Path, self._settings.scratch.paths):
            if self._settings.scratch.require_mount:
                require_mount(path)
            elif not path.is_dir():
                raise PermanentError("look for", str(path), "there is no such directory", hint="set scratch.paths")
            if is_mount(path):
                disk = os.statvfs(path)
                used += (disk.f_blocks - disk.f_bfree) * disk.f_frsize
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

    def moved(self, message: Message, *, at: float) -> None:
        """Take what a copier tells."""
        if isinstance(message, Moved):
            self.progress = message.progress
            self.rate.add(at, message.progress.bytes_done)

    def step(self, record: Record) -> None:
        """Begin anew with a new evacuation."""
        if record.state.phase is Phase.DRAINING and record.state.saved is None:
            self.progress, self.rate = None, Rate()


def forget_receipts(directory: Path, keep: CheckpointId | None) -> None:
    """Remove the receipts of evacuations that are over. Raises OSError."""
    for path in directory.iterdir():
        if RECEIPTS.fullmatch(path.name) and not (keep and path.name.startswith(keep)):
            path.unlink(missing_ok=True)
