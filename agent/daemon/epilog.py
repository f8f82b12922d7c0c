"""What Slurm's Epilog asks of the daemon: to hold the node COMPLETING until the files are committed that have to be.

Those of the whole node when it goes; else, when another node of the job goes, those of the job.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable
from typing import Any, Final, Protocol

from agent.evacuation.phases import Phase
from agent.evacuation.plan import plan
from agent.evacuation.state import Evacuation

UNCOMMITTED: Final = frozenset({Phase.DRAINING, Phase.COPYING, Phase.STOPPING, Phase.DELTA, Phase.COMMITTING})
STAYING: Final = frozenset({Phase.WATCHING, Phase.RETURNING})
SAY_EVERY: Final = 10.0
"""Seconds between lines for whoever waits: it takes a daemon that says nothing for 30 s for dead."""
LOOK_EVERY: Final = 0.1
"""Seconds between looks at the state."""
HEADROOM: Final = 5.0
"""Seconds before Slurm's own time-out, which would drain the node, at which an Epilog is let go."""

Json = dict[str, Any]


class SavePart(Protocol):
    async def __call__(self, job: int, life: int, *, until: float) -> str:
        """Save what this node has of a job that was requeued in `life`; return what came of it."""
        ...


class Epilogs:
    """Answers `epilog`. `limit` is Slurm's time-out for Epilogs, None without one; `current` the state as it is now;
    `save_part(job, life, until=...)` saves what the node has of a job and says what came of it.
    """

    def __init__(
        self,
        *,
        current: Callable[[], Evacuation],
        limit: Callable[[], float | None],
        safety_margin: float,
        save_part: SavePart,
    ) -> None:
        self._current = current
        self._limit = limit
        self._safety_margin = safety_margin
        self._save_part = save_part
        self._parts: set[asyncio.Task[str]] = set()

    async def wait(self, request: Json) -> AsyncGenerator[Json, None]:
        """Answer when nothing is left to commit: at once while no evacuation goes on, at its deadline at the latest."""
        loop = asyncio.get_running_loop()
        limit = self._limit()
        patience = float("inf") if limit is None else loop.time() + max(0.0, limit - HEADROOM)
        part = self._save(request, until=patience)
        said = loop.time()
        try:
            while self._is_held(loop.time(), patience) or not (part is None or part.done()):
                await asyncio.sleep(LOOK_EVERY)
                if loop.time() >= said + SAY_EVERY:
                    said = loop.time()
                    yield {"held": self._current().phase}
        finally:
            if part is not None:
                part.cancel()
        saved = "" if part is None or part.cancelled() else part.result()
        yield {"result": {"outcome": self._current().outcome, "part": saved}}

    def give_way(self) -> None:
        """End what is being saved of single jobs: this node goes itself, and all of it is saved."""
        for part in self._parts:
            part.cancel()

    def _save(self, request: Json, *, until: float) -> asyncio.Task[str] | None:
        """Begin to save what the node has of a job that was requeued; None where nothing of the kind is to be done."""
        match request:
            case {"job": int(job), "life": int(life), "began": int(began)} if life > began:
                pass
            case _:
                return None
        if self._current().phase not in STAYING:
            return None
        part = asyncio.create_task(self._save_part(job, began, until=until), name=f"part of job {job}")
        self._parts.add(part)
        part.add_done_callback(self._parts.discard)
        return part

    def _is_held(self, now: float, patience: float) -> bool:
        state = self._current()
        times = plan(state, safety_margin=self._safety_margin)
        return state.phase in UNCOMMITTED and times is not None and now < min(times.release_until, patience)
