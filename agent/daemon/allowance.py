"""How much was saved ahead today, and when a head was last written: what a restart must not forget."""

import asyncio
import json
from concurrent.futures import Executor
from contextlib import suppress
from dataclasses import asdict, replace
from datetime import datetime
from pathlib import Path

from agent.clock import Clock, parse_stamp, stamp
from agent.value import value


@value
class Spent:
    """`day` is a date in UTC, `head_at` a time; empty is none."""

    day: str = ""
    bytes: int = 0
    head_at: str = ""


class Allowance:
    """Counts in memory, and keeps it in the file `path`, None for nowhere."""

    def __init__(self, path: Path | None, *, clock: Clock, executor: Executor) -> None:
        self._path = path
        self._clock = clock
        self._executor = executor
        self._spent = Spent() if path is None else _load(path)
        self.sent = 0
        """Bytes saved ahead since the agent began."""

    @property
    def today(self) -> int:
        """Bytes saved ahead since midnight UTC."""
        return self._spent.bytes if self._spent.day == self._day() else 0

    @property
    def head_at(self) -> datetime | None:
        """When the last head was written."""
        return parse_stamp(self._spent.head_at) if self._spent.head_at else None

    def add(self, size: int) -> None:
        self.sent += size
        self._spent = replace(self._spent, bytes=self.today + size, day=self._day())

    def committed(self, at: datetime) -> None:
        self._spent = replace(self._spent, head_at=stamp(at))

    async def keep(self) -> None:
        """Write it down, as far as the disk lets us: a limit that is lost for a day is no reason to stop."""
        if self._path is not None:
            with suppress(OSError):
                await asyncio.get_running_loop().run_in_executor(self._executor, _write, self._path, self._spent)

    def _day(self) -> str:
        return f"{self._clock.now():%Y-%m-%d}"


def _load(path: Path) -> Spent:
    """Return what is kept; a file that can't be read, or is not one of ours, is nothing."""
    try:
        kept = json.loads(path.read_text())
        spent = Spent(day=str(kept["day"]), bytes=int(kept["bytes"]), head_at=str(kept["head_at"]))
        if spent.head_at:
            parse_stamp(spent.head_at)
    except (OSError, ValueError, KeyError, TypeError):
        return Spent()
    return spent


def _write(path: Path, spent: Spent) -> None:
    fresh = path.with_suffix(".new")
    fresh.write_text(json.dumps(asdict(spent)))
    fresh.replace(path)
