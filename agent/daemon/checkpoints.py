"""Checkpoints that a person asks for: one at a time, and never beside an evacuation."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from dataclasses import asdict
from typing import Any, Final

from agent.copier.protocol import Committed, Message, Moved, Save, Waiting
from agent.daemon.copier import Copier
from agent.daemon.jobfiles import PATIENCE, JobFiles
from agent.daemon.whoami import Whoami
from agent.errors import AgentError, PermanentError
from agent.evacuation.record import saved_of
from agent.evacuation.state import Saved
from agent.model.checkpoint import CheckpointId
from agent.model.progress import Progress

COMMIT_EVERY: Final = 30.0
"""Seconds between heads: nobody is about to take this node, as far as we know."""

Json = dict[str, Any]


class Busy(PermanentError):
    """Another copy is going on."""


class Checkpoints:
    """Makes checkpoints with `copier`, which is its own. `refusal` says why there can be none now, else None.

    `job_files` is None where jobs are not to be told of, or there is no Slurm.
    """

    def __init__(
        self,
        *,
        copier: Copier,
        whoami: Whoami,
        refusal: Callable[[], Awaitable[PermanentError | None]],
        fresh: Callable[[], CheckpointId],
        terms: Callable[[], Mapping[str, Any]],
        moved: Callable[[Message], None],
        committed: Callable[[Saved], None],
        job_files: Callable[[], JobFiles | None],
    ) -> None:
        self._copier = copier
        self._whoami = whoami
        self._refusal = refusal
        self._fresh = fresh
        self._terms = terms
        self._moved = moved
        self._committed = committed
        self._job_files = job_files
        self._task: asyncio.Task[None] | None = None

    @property
    def is_busy(self) -> bool:
        """Whether one is being made."""
        return self._task is not None

    def give_way(self) -> None:
        """End the checkpoint that is being made: an evacuation needs the machine."""
        if self._task is not None:
            self._task.cancel()

    async def take(self, _request: Json) -> AsyncGenerator[Json, None]:
        """Make a checkpoint; yield its progress and at the end its result, or an error."""
        if (refusal := await self._refusal()) is not None:
            raise refusal
        if self._task is not None:  # looked at last: the refusal takes a while
            raise Busy("make", "a checkpoint", "one is being made already")
        lines: asyncio.Queue[Json | None] = asyncio.Queue()
        self._task = asyncio.create_task(self._make(lines.put_nowait), name="checkpoint")
        try:
            while (line := await lines.get()) is not None:
                yield line
        finally:
            task, self._task = self._task, None
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def _make(self, put: Callable[[Json | None], None]) -> None:
        try:
            put({"result": await self._save(put)})
        except AgentError as error:
            message = f"{error.op} {error.subject}: {error.detail}"
            put({"error": {"message": message, "hint": error.hint, "exit": error.exit_code}})
        except asyncio.CancelledError:
            hint = "`hpc-agent status` shows what the evacuation saves"
            put({"error": {"message": "the checkpoint gave way to an evacuation", "hint": hint, "exit": 1}})
            raise
        finally:
            put(None)
            await self._copier.end()

    async def _save(self, put: Callable[[Json | None], None]) -> Json:
        node, files = await self._whoami.node(), self._job_files()
        records, trouble = ([], []) if files is None else await files.here()
        command = Save(
            checkpoint=self._fresh(),
            reason="manual",
            node=asdict(node),
            commit_every=COMMIT_EVERY,
            jobs=[record.document() for record in records],
            **self._terms(),
        )

        def listen(message: Message) -> None:
            self._moved(message)
            match message:
                case Moved():
                    put({"progress": asdict(message.progress)})
                case Waiting():
                    put({"progress": asdict(Progress(waiting=message.what))})
                case Committed():
                    self._committed(saved_of(dict(message.saved)))

        await self._copier.save(command, listen)
        answer = await self._copier.finish(listen)
        saved = saved_of(dict(answer.saved))
        self._committed(saved)
        if files is not None:
            until = asyncio.get_running_loop().time() + PATIENCE
            trouble += await files.vouch(records, saved, until=until)
        return {**answer.saved, "trouble": [*answer.trouble, *trouble]}
