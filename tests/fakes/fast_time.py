"""A loop whose time runs faster than the world's: minutes of a schedule pass in seconds, real children take part."""

import asyncio
import time


class FastLoop(asyncio.SelectorEventLoop):
    """`factor` seconds of the loop are one of the world."""

    def __init__(self, factor):
        self._factor = factor
        self._began = time.monotonic()
        super().__init__()
        wait = self._selector.select
        self._selector.select = lambda timeout=None: wait(None if timeout is None else timeout / factor)

    def time(self):
        return (time.monotonic() - self._began) * self._factor


def play_fast(scene, factor):
    """Run the coroutine function `scene` on such a loop; return what it returns."""
    with asyncio.Runner(loop_factory=lambda: FastLoop(factor)) as runner:
        return runner.run(scene())
