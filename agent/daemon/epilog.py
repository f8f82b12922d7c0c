"""What Slurm's Epilog asks of the daemon: to hold the node COMPLETING until its files are committed."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from typing import Any, Final

from agent.evacuation.phases import Phase
from agent.evacuation.plan import plan
from agent.evacuation.state import Evacuation

UNCOMMITTED: Final = frozenset({Phase.DRAINING, Phase.COPYING, Phase.STOPPING, Phase.DELTA, Phase.COMMITTING})
SAY_EVERY: Final = 10.0
"""Seconds between lines for whoever waits: it takes a daemon that says nothing for 30 s for dead."""
LOOK_EVERY: Final = 0.1
"""Seconds between looks at the state."""
HEADROOM: Final = 5.0
"""Seconds before Slurm's own time-out, which would drain the node, at which an Epilog is let go."""

Json = dict[str, Any]


class Epilogs:
    """Answers `epilog`. `limit` is Slurm's time-out for Epilogs, None without one; `current` the state as it is now."""

    def __init__(
        self, *, current: Callable[[], Evacuation], limit: Callable[[], float | None], safety_margin: float
    ) -> None:
        self._current = current
        self._limit = limit
        self._safety_margin = safety_margin

    async def wait(self, _request: Json) -> AsyncGenerator[Json, None]:
        """Answer when nothing is left to commit: at once while no evacuation goes on, at its deadline at the latest."""
        loop = asyncio.get_running_loop()
        limit = self._limit()
        patience = float("inf") if limit is None else loop.time() + max(0.0, limit - HEADROOM)
        said = loop.time()
        while self._is_held(loop.time(), patience):
            await asyncio.sleep(LOOK_EVERY)
            if loop.time() >= said + SAY_EVERY:
                said = loop.time()
                yield {"held": self._current().phase}
        yield {"result": {"outcome": self._current().outcome}}

    def _is_held(self, now: float, patience: float) -> bool:
        state = self._current()
        times = plan(state, safety_margin=self._safety_margin)
        return state.phase in UNCOMMITTED and times is not None and now < min(times.release_until, patience)
