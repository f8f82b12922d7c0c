"""What SIGTERM means: leave; but not while the node is being saved, unless told twice.

A machine that is shut down with a job on it is a notice that only this signal brings: then the node is saved first.
"""

import asyncio
import contextlib
import logging
import signal
from collections.abc import Awaitable, Callable
from typing import Final

from agent.daemon.sdnotify import Systemd
from agent.evacuation.phases import Phase

logger = logging.getLogger(__name__)

SENDING: Final = frozenset({Phase.DRAINING, Phase.COPYING, Phase.STOPPING, Phase.DELTA})
ENDING: Final = frozenset({Phase.STOPPING, Phase.DELTA, Phase.COMMITTING, Phase.RELEASING})
"""Phases that no longer wait for a deadline, which may be further away than the end of a machine that is shut down."""
BUSY: Final = SENDING | ENDING
EXTENSION: Final = 30.0
"""Seconds more that systemd is asked for at a time while a rescue goes on after SIGTERM."""
BEGIN: Final = 2.0
"""Seconds for an evacuation to begin that a shutdown calls for; the operator's policy may not want one."""
LAST_COMMIT: Final = 10.0
"""Seconds that a second SIGTERM leaves for the commit of what is there."""


class Leaving:
    """Waits for the signals and returns when it is time to go. `hurry` ends the copy so that it is committed.

    `shut_down` returns whether the machine is being shut down with something to save; it has then given notice.
    """

    def __init__(
        self,
        *,
        phase: Callable[[], Phase],
        shut_down: Callable[[], Awaitable[bool]],
        hurry: Callable[[], None],
        systemd: Systemd,
    ) -> None:
        self._phase = phase
        self._shut_down = shut_down
        self._hurry = hurry
        self._systemd = systemd
        self._signals = 0
        self._changed = asyncio.Event()

    def install(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.told)

    def told(self) -> None:
        """Somebody wants the agent to end."""
        self._signals += 1
        if self._signals == 1 and self._phase() in BUSY:
            logger.info("told to end while %s: going on; a second signal commits what is there", self._phase())
        self._changed.set()

    def look(self) -> None:
        """The phase has changed."""
        self._changed.set()

    async def wait(self) -> None:
        """Return when the agent may end."""
        while self._signals == 0:
            await self._wait_for_change()
        if self._phase() not in ENDING and await self._shut_down():
            logger.warning("the machine is being shut down with work on it: saving that first")
            await self._begin()
        while self._signals == 1 and self._phase() in BUSY:
            await self._wait_for_change()
        if self._phase() in BUSY:
            await self._commit_and_go()
        self._systemd.stopping()

    async def _begin(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(BEGIN):
                while self._phase() not in BUSY:
                    self._changed.clear()
                    await self._changed.wait()

    async def _wait_for_change(self) -> None:
        if self._signals:
            self._systemd.extend(EXTENSION)
        self._changed.clear()
        try:
            async with asyncio.timeout(EXTENSION / 3 if self._signals else None):
                await self._changed.wait()
        except TimeoutError:
            return

    async def _commit_and_go(self) -> None:
        logger.warning("told to end twice while %s: committing what is there", self._phase())
        self._systemd.extend(LAST_COMMIT + 5)
        try:
            async with asyncio.timeout(LAST_COMMIT):
                hurried: Phase | None = None
                while self._phase() in BUSY:
                    if self._phase() in SENDING and self._phase() is not hurried:
                        hurried = self._phase()
                        self._hurry()
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            logger.warning("the last commit did not end in %g s", LAST_COMMIT)
