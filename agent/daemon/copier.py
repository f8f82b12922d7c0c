"""Control's end of a copier: there when there is something to copy, let go when there is not."""

from collections.abc import Callable
from pathlib import Path
from typing import Protocol, TypeVar

from agent.copier.protocol import (
    Copied,
    Enter,
    Finish,
    Message,
    Order,
    Record,
    Recorded,
    Refused,
    Save,
    Saved,
    Scan,
    Scanned,
    Setup,
    Until,
    decode,
)
from agent.daemon.child import Child
from agent.daemon.spare import Spare
from agent.errors import PermanentError, TransientError

Listener = Callable[[Message], None]
Answer = TypeVar("Answer", Copied, Saved, Recorded, Scanned)


class CopierGone(TransientError):
    """The copier died. What it had sent is in its receipts: another one goes on from there."""


class CopierRefused(PermanentError):
    """The copier can't do what it was asked."""


class Copier(Protocol):
    """One copier at a time, one question at a time. What it tells meanwhile goes to the listener."""

    async def save(self, command: Save, listen: Listener) -> Copied:
        """Copy; start the copier if need be. Raises CopierGone, CopierRefused."""
        ...

    def move(self, until: float | None) -> None:
        """Have what is being saved be done by another time than its command said; nothing where nothing is."""
        ...

    async def finish(self, listen: Listener) -> Saved:
        """Commit what was copied. Raises CopierGone (also when none was started), CopierRefused."""
        ...

    async def scan(self, command: Scan, listen: Listener) -> Scanned:
        """Look at the tree; start the copier if need be. Raises CopierGone, CopierRefused."""
        ...

    async def record(self, command: Record, listen: Listener) -> None:
        """Store a document; start the copier if need be. Raises CopierGone, CopierRefused."""
        ...

    async def end(self) -> None:
        """Let the copier go; one that is still at something is killed."""
        ...


class CopierProcess:
    """A child process that speaks `agent.copier.protocol`, `niceness` above ours and in the cgroup `group`.

    It comes from `spare`, or else is started, and goes there when it has nothing to do at its end.
    """

    def __init__(self, setup: Setup, *, niceness: int, group: Path | None = None, spare: Spare) -> None:
        self._setup = setup
        self._niceness = niceness
        self._group = group
        self._spare = spare
        self._child: Child | None = None
        self._is_idle = False

    async def save(self, command: Save, listen: Listener) -> Copied:
        return await self._ask(command, Copied, listen)

    def move(self, until: float | None) -> None:
        if self._child is not None:
            self._child.say(Until(until=until))

    async def finish(self, listen: Listener) -> Saved:
        if self._child is None:
            raise CopierGone("ask", "the copier", "it is not running")
        return await self._ask(Finish(), Saved, listen)

    async def scan(self, command: Scan, listen: Listener) -> Scanned:
        return await self._ask(command, Scanned, listen)

    async def record(self, command: Record, listen: Listener) -> None:
        await self._ask(command, Recorded, listen)

    async def end(self) -> None:
        child, self._child = self._child, None
        if child is None:
            return
        if self._is_idle and self._spare.takes(child):
            self._spare.keep(child)
        else:
            await child.end()

    async def _ask(self, question: Order, answer: type[Answer], listen: Listener) -> Answer:
        try:
            self._child = child = self._child or await self._hire()
            self._is_idle = False
            child.say(question)
            while (line := await child.reader.readline()).endswith(b"\n"):  # a line that was cut by its death is none
                message = decode(line)
                if isinstance(message, answer) and _is_meant(message, question):
                    self._is_idle = not isinstance(message, Copied)
                    return message
                if isinstance(message, Refused) and message.asked == type(question).__name__:
                    raise CopierRefused("ask", "the copier", message.what, hint=message.hint)
                listen(message)
        except OSError as error:
            await self.end()
            raise CopierGone("ask", "the copier", error.strerror or repr(error)) from error
        code = await child.exit_code()
        await self.end()
        raise CopierGone("ask", "the copier", f"it died ({code})", hint="see the journal for its last words")

    async def _hire(self) -> Child:
        child = self._hired() or await self._started()
        if self._group is not None:
            child.say(Enter(group=str(self._group)))
        return child

    def _hired(self) -> Child | None:
        """Return the spare one, if it can be given our weight: upwards takes a right (LimitNICE= of the unit)."""
        if (child := self._spare.take()) is None:
            return None
        try:
            child.weigh(self._niceness)
        except PermissionError:
            child.kill()
            return None
        return child

    async def _started(self) -> Child:
        child = await Child.start(self._setup)
        child.weigh(self._niceness)
        return child


def _is_meant(answer: Message, question: Order) -> bool:
    """Return whether an answer is to this question: that a copy has begun is stored at any time, beside others."""
    return not isinstance(answer, Recorded) or (isinstance(question, Record) and answer.name == question.name)
