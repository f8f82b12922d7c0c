"""A copier that has nothing to do is kept for a while: its start costs more CPU than many a checkpoint.

Whoever has the next order takes it, a rescue too, which then begins without a start.
"""

import asyncio
from typing import Final

from agent.copier.protocol import Rest
from agent.daemon.child import Child

KEPT: Final = 300.0
"""Seconds: beyond most pauses between looks at a tree that is worked on, within what memory lies idle for."""

MOST_BYTES: Final = 128 << 20
"""Of memory, for a copier to be kept: Python gives little of it back, and the next order comes on top."""


class Spare:
    """Keeps at most one."""

    def __init__(self) -> None:
        self._child: Child | None = None
        self._until: asyncio.TimerHandle | None = None

    def take(self) -> Child | None:
        """Return the one that is kept, if it still lives; the caller has to end it or to bring it back."""
        child, self._child = self._child, None
        if self._until is not None:
            self._until.cancel()
        if child is None or child.is_alive:
            return child
        child.kill()
        return None

    def takes(self, child: Child) -> bool:
        """Return whether one is worth keeping, and not too large for it."""
        return child.is_alive and child.resident <= MOST_BYTES

    def keep(self, child: Child) -> None:
        """Keep one that has answered all it was asked; of two only the last."""
        self._let_go()
        child.say(Rest())
        self._child = child
        self._until = asyncio.get_running_loop().call_later(KEPT, self._let_go)

    def _let_go(self) -> None:
        if (child := self.take()) is not None:
            child.kill()
