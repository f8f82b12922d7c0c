"""A loop whose time jumps to the next timer instead of waiting, and a wall clock that goes with it."""

import asyncio
from datetime import UTC, datetime, timedelta

START = datetime(2026, 11, 23, 9, 15, tzinfo=UTC)


class VirtualLoop(asyncio.SelectorEventLoop):
    """For work without sockets only. Stops with an error where a real loop would wait for ever."""

    def __init__(self):
        self._now = 1000.0
        super().__init__()
        wait = self._selector.select

        def jump(timeout=None):
            events = wait(0)
            if not events:
                if timeout is None:
                    raise RuntimeError("everything waits and no timer is set")
                self._now += timeout
            return events

        self._selector.select = jump

    def time(self):
        return self._now


class LoopClock:
    """Wall time that begins at START when the clock is made; `jump` is how far somebody has set it since."""

    def __init__(self):
        self._begun = asyncio.get_running_loop().time()
        self.jump = timedelta()

    def now(self):
        return START + timedelta(seconds=asyncio.get_running_loop().time() - self._begun) + self.jump


def play(scene):
    """Run the coroutine function `scene` on a virtual loop; return what it returns."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(scene())
