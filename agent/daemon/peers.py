"""The part of a job that this node has, saved when the job was stopped because another of its nodes goes.

The Epilog asks for it and waits; nothing else of this node is touched, and its other jobs go on.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import asdict
from typing import Any, Final, Protocol

from agent.copier.protocol import Message, Save
from agent.daemon.copier import Copier
from agent.daemon.whoami import Whoami
from agent.errors import AgentError, PermanentError
from agent.evacuation.record import saved_of
from agent.evacuation.state import Saved
from agent.jobs.record import JobRecord
from agent.model.checkpoint import PEER, CheckpointId
from agent.value import value

COMMITTING: Final = 5.0
"""Seconds of those that there are that are kept for the head and for Slurm's word for it."""
ONE_HEAD: Final = 3600.0
"""Seconds between heads while copying: only the last one is vouched for."""

logger = logging.getLogger(__name__)


class Files(Protocol):
    """What `agent.daemon.jobfiles.JobFiles` does."""

    async def of_peer(self, job: int, *, life: int) -> JobRecord | None: ...
    async def vouch(self, records: list[JobRecord], saved: Saved, *, until: float) -> list[str]: ...


@value
class Limits:
    """What the part of one job may take: after so many bytes no file is begun, after so many seconds none counts."""

    bytes: int
    seconds: float


class Peers:
    """Saves parts of jobs with `copier`, which is its own, one at a time.

    `files` is None where Slurm is not to be told; `limits` is None where the operator wants none of it. `refusal` says
    why nothing can be saved, else None.
    """

    def __init__(
        self,
        *,
        copier: Copier,
        whoami: Whoami,
        files: Callable[[], Files | None],
        limits: Limits | None,
        refusal: Callable[[], Awaitable[PermanentError | None]],
        fresh: Callable[[], CheckpointId],
        terms: Callable[[], Mapping[str, Any]],
        moved: Callable[[Message], None],
    ) -> None:
        self._copier = copier
        self._whoami = whoami
        self._files = files
        self._limits = limits
        self._refusal = refusal
        self._fresh = fresh
        self._terms = terms
        self._moved = moved
        self._turn = asyncio.Lock()

    async def save(self, job: int, life: int, *, until: float) -> str:
        """Save what this node has of a job whose `life` another node's agent has ended; return what came of it.

        "" where there is nothing to do. Ends by `until` (monotonic).
        """
        files, limits = self._files(), self._limits
        if files is None or limits is None:
            return ""
        until = min(until, asyncio.get_running_loop().time() + limits.seconds)
        try:
            async with asyncio.timeout_at(until), self._turn:
                said = await self._save(files, limits, job, life, until - COMMITTING)
        except TimeoutError:
            said = f"job {job} will not find its files of this node again: there was no time"
        except AgentError as error:
            said = f"job {job} will not find its files of this node again: {error}"
        if said:
            logger.warning("%s", said)
        return said

    async def _save(self, files: Files, limits: Limits, job: int, life: int, copy_until: float) -> str:
        part = await files.of_peer(job, life=life)
        if part is None:
            return ""
        if (reason := await self._refusal()) is not None:
            raise reason
        try:
            saved = await self._copy(part, limits, copy_until)
        finally:
            await self._copier.end()
        trouble = await files.vouch([part], saved, until=copy_until + COMMITTING)
        return "; ".join([_said(part, saved), *trouble])

    async def _copy(self, part: JobRecord, limits: Limits, copy_until: float) -> Saved:
        command = Save(
            checkpoint=self._fresh(),
            reason=PEER,
            node=asdict(await self._whoami.node()),
            commit_every=ONE_HEAD,
            **self._terms(),
            only=list(part.paths),
            jobs=[part.document()],
            most_bytes=limits.bytes,
            until=copy_until,
        )
        with suppress(TimeoutError):
            async with asyncio.timeout_at(copy_until):
                await self._copier.save(command, self._moved)
        return saved_of(dict((await self._copier.finish(self._moved)).saved))


def _said(part: JobRecord, saved: Saved) -> str:
    what = f"job {part.job}: its files of rank {part.rank}, life {part.life}, are in {saved.checkpoint}"
    left = saved.left
    return f"{what}, but for {left.files} files ({left.bytes} bytes)" if left.files else what
