"""What the copier of a rescue is asked, and whether it may be: one order at a time."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from agent.copier.protocol import Committed, Message, Record, Save, Scan, Scanned, Waiting
from agent.daemon.copier import Copier, CopierRefused, Listener
from agent.daemon.runner import Tell
from agent.errors import PermanentError, TransientError
from agent.evacuation.record import saved_of
from agent.evacuation.state import Evacuation, Saved

T = TypeVar("T")


class CopyFellShort(PermanentError):
    """Everything that could be copied was; this could not."""


class StillRefused(TransientError):
    """The copier can't do what it was asked; the deadline comes anyway, so trying again costs nothing."""


class Orders:
    """Asks `copier`; `moved` sees every message of it. `refusal` says why nothing can be saved, else None.

    Whoever asks holds `turn`: a cancelled piece of work may still be ending when the next one begins.
    """

    def __init__(
        self, copier: Copier, *, moved: Listener, refusal: Callable[[], Awaitable[PermanentError | None]]
    ) -> None:
        self._copier = copier
        self._moved = moved
        self.refusal = refusal
        self.turn = asyncio.Lock()

    async def may_save(self, state: Evacuation) -> bool:
        return state.saves and state.effects.save and await self.refusal() is None

    async def save(self, command: Save, tell: Tell) -> None:
        """Copy. Raises CopyFellShort, StillRefused and what a copier that goes raises."""
        copied = await _asking(self._copier.save(command, self._listener(tell)))
        if copied.trouble:
            raise CopyFellShort("copy", "the scratch", "; ".join(copied.trouble))

    def move(self, until: float) -> None:
        """Have a copy that is under way end by then (monotonic)."""
        self._copier.move(until)

    async def scan(self, command: Scan, tell: Tell) -> Scanned:
        """Look at the tree. Raises AgentError."""
        return await self._copier.scan(command, self._listener(tell))

    async def finish(self, tell: Tell) -> Saved:
        """Write the last head. Raises AgentError."""
        async with self.turn:
            answer = await self._copier.finish(self._listener(tell))
        saved = saved_of(dict(answer.saved))
        tell.committed(saved)
        return saved

    async def record(self, record: Record, tell: Tell) -> None:
        """Store a document. Raises StillRefused and what a copier that goes raises."""
        await _asking(self._copier.record(record, self._listener(tell)))

    async def end(self) -> None:
        """Let the copier go."""
        await self._copier.end()

    def _listener(self, tell: Tell) -> Listener:
        def listen(message: Message) -> None:
            self._moved(message)
            match message:
                case Committed():
                    tell.committed(saved_of(dict(message.saved)))
                case Waiting():
                    tell.waiting(message.what, message.hint)

        return listen


async def _asking(answer: Awaitable[T]) -> T:
    """Return `answer`; what S3 refuses now is asked for again: rights can be mended while there is time."""
    try:
        return await answer
    except CopierRefused as error:
        raise StillRefused(error.op, error.subject, error.detail, hint=error.hint) from error
