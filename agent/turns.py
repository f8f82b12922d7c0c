"""Whose turn it is: of the threads that read, check, encrypt, write, as many work as there are CPUs for them.

Python's threads share one lock, of which every read, checksum and record of TLS lets go, to want it back at once. With
more of them at work than that they wait for it and for each other's memory: on two CPUs, saving large files took a
third more CPU, and restoring small ones twice as much (docs/performance.md). Whoever waits for a network or a disk
steps aside meanwhile. One process has one lock, so the turns are the process's.
"""

import contextlib
import os
import threading
from collections.abc import Iterator
from queue import Empty, SimpleQueue
from typing import Final

LONGEST: Final = 1.0
"""Seconds. Whoever has not had a turn by then goes on without: those who have them are stuck, in a disk most likely."""
_MOST: Final = 8
"""With more threads the lock itself is what is full; an estimate, for nothing with more than two CPUs was measured."""


class _Mine(threading.local):
    turns: "Turns | None" = None
    """Those of which this thread has one."""


_mine = _Mine()


class Turns:
    """`count` threads at a time."""

    def __init__(self, count: int) -> None:
        self._free: SimpleQueue[None] = SimpleQueue()
        for _ in range(count):
            self._free.put(None)

    @contextlib.contextmanager
    def taken(self) -> Iterator[None]:
        """Wait for a turn, and have it until the end of the block; not within another one."""
        self.take()
        try:
            yield
        finally:
            _give()

    def take(self) -> None:
        """Wait for a turn; this thread has it until it gives it."""
        with contextlib.suppress(Empty):
            self._free.get(timeout=LONGEST)
            _mine.turns = self

    def give(self) -> None:
        """Let another thread have a turn."""
        self._free.put(None)


@contextlib.contextmanager
def aside() -> Iterator[None]:
    """Let another thread have the turn of this one, if it has any, while it waits for something else."""
    turns = _mine.turns
    if turns is None:
        yield
        return
    _give()
    try:
        yield
    finally:
        turns.take()


def _give() -> None:
    turns, _mine.turns = _mine.turns, None
    if turns is not None:
        turns.give()


def _cpus() -> int:
    return min(_MOST, len(os.sched_getaffinity(0)))


SENDING: Final = Turns(_cpus())
"""Of those who read files and send them."""
RECEIVING: Final = Turns(max(1, _cpus() // 2))
"""Of those who receive and write: OpenSSL decrypts 16 KiB at a time and wants the lock back for each."""
