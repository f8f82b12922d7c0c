"""When the jobs have to be stopped follows what is measured: how fast the copy is, and how much they still change."""

import asyncio
from collections.abc import Callable

from agent.copier.protocol import Scanned
from agent.daemon.saving import Saving
from agent.evacuation.churn import Changed, expected
from agent.evacuation.estimate import ASSUMED_RATE
from agent.evacuation.phases import Phase
from agent.evacuation.plan import delta_bytes, delta_seconds, plan
from agent.evacuation.state import Evacuation


class Replanning:
    """`current` is the state; `planned` takes the seconds of the last delta, None when nothing is known to go by."""

    def __init__(
        self,
        saving: Saving,
        *,
        current: Callable[[], Evacuation],
        planned: Callable[[float | None], None],
        safety_margin: float,
    ) -> None:
        self._saving = saving
        self._current = current
        self._planned = planned
        self._safety_margin = safety_margin
        self._before = Changed(at=0.0, bytes=0)

    def moved(self) -> None:
        """Go by what the first copy has come to, and by what looks ahead of the notice have told of the jobs."""
        saving, progress, state = self._saving, self._saving.progress, self._current()
        if progress is None or state.phase is not Phase.COPYING or state.copied:
            return
        began = state.entered[Phase.COPYING]
        size = delta_bytes(
            progress.bytes_total,
            changing=saving.churn.per_second,
            seconds=max(0.0, self._until(state) - began),
            tree=saving.used,
        )
        rate = saving.rate.per_second or saving.pace.per_second or 0.0  # until this copy has one: that of the last
        self._planned(delta_seconds(size, bytes_per_second=rate, is_known=progress.walked))

    def looked(self, found: Scanned) -> None:
        """Go by what has changed since the first copy began."""
        state, now = self._current(), asyncio.get_running_loop().time()
        if state.phase is not Phase.COPYING:
            return
        began = state.entered[Phase.COPYING]
        before = self._before if self._before.at > began else Changed(at=began, bytes=0)
        self._before = Changed(at=now, bytes=found.bytes)
        size = expected(before, self._before, until=self._until(state), most=found.total_bytes)
        rate = self._saving.rate.per_second or self._saving.pace.per_second or ASSUMED_RATE
        self._planned(delta_seconds(size, bytes_per_second=rate, is_known=True))

    def _until(self, state: Evacuation) -> float:
        times = plan(state, safety_margin=self._safety_margin)
        return asyncio.get_running_loop().time() if times is None else times.stop_until
