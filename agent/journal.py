"""The journal: one line per step, so that a restart goes on where the last life of the agent ended.

It belongs to one boot of one instance: monotonic times mean nothing in another. A full or broken disk stops the
journal, never the agent (P6).
"""

import asyncio
import contextlib
import json
import os
from collections.abc import Callable
from concurrent.futures import Executor
from pathlib import Path
from typing import Any, Final

from agent.errors import PermanentError
from agent.evacuation.record import SCHEMA, Record, RecordInvalid, event_document, state_document, state_of
from agent.evacuation.state import Effects, Evacuation
from agent.model.node import BootId

LARGEST: Final = 4 << 20
"""Bytes after which the journal begins anew with its last record."""


LAST_WORDS: Final = 1.0
"""Seconds for the last write when the agent ends: the disk may be the reason why it does."""


class JournalBroken(PermanentError):
    """The journal can't be written."""


class Journal:
    """Append-only JSON lines at `path`. `append` never waits; `run` writes, in order, in the executor."""

    def __init__(
        self,
        path: Path,
        *,
        boot_id: BootId,
        executor: Executor,
        broken: Callable[[JournalBroken | None], None],
    ) -> None:
        """`broken` is told when a write fails, and (with None) when one works again."""
        self._path = path
        self._life = {"schema": SCHEMA, "boot": boot_id}
        self._executor = executor
        self._broken = broken
        self._lines: asyncio.Queue[bytes] = asyncio.Queue()
        self._unwritten = b""  # handed to the executor: when cancelled meanwhile, nobody knows whether it was written

    def append(self, record: Record) -> None:
        document = {
            **self._life,
            "number": record.number,
            "event": event_document(record.event),
            "state": state_document(record.state),
        }
        self._lines.put_nowait(json.dumps(document, separators=(",", ":")).encode() + b"\n")

    async def run(self) -> None:
        """Write what is appended, for ever. When cancelled, write what is left, if the disk lets it."""
        try:
            while True:
                self._unwritten += await self._lines.get() + self._pending()
                await self._write()
        finally:
            self._unwritten += self._pending()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LAST_WORDS):
                    await self._write()

    def _pending(self) -> bytes:
        lines = []
        while not self._lines.empty():
            lines.append(self._lines.get_nowait())
        return b"".join(lines)

    async def _write(self) -> None:
        lines = self._unwritten
        try:
            await asyncio.get_running_loop().run_in_executor(self._executor, _append, self._path, lines)
        except OSError as error:
            self._unwritten = b""
            hint = "a restart would not know of an evacuation that is going on; free some space there"
            self._broken(JournalBroken("write", str(self._path), error.strerror or repr(error), hint=hint))
        else:
            self._unwritten = b""
            self._broken(None)


def _append(path: Path, lines: bytes) -> None:
    if not lines:
        return
    flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
    file = os.open(path, flags, 0o600)
    try:
        size = os.fstat(file).st_size
        if size > LARGEST:
            _begin_anew(path, lines.splitlines(keepends=True)[-1])
            return
        is_cut = size > 0 and os.pread(file, 1, size - 1) != b"\n"  # by a kill: what follows needs a line of its own
        os.write(file, b"\n" + lines if is_cut else lines)
        os.fsync(file)
    finally:
        os.close(file)


def _begin_anew(path: Path, line: bytes) -> None:
    fresh = path.with_suffix(".new")
    with fresh.open("wb") as file:
        file.write(line)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)


def last_state(path: Path, *, boot_id: BootId, effects: Effects) -> Evacuation | None:
    """Return the state of the last complete record of this boot; None when there is none.

    A boot id is one life of one instance, and it is known while IMDS is silent. Raises RecordInvalid when the file
    can't be read, or was written by a version with another schema.
    """
    try:
        lines = path.read_bytes().splitlines()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise RecordInvalid("read", str(path), error.strerror or repr(error)) from error
    for line in reversed(lines):
        with contextlib.suppress(ValueError):
            return _state_in(json.loads(line), path, boot_id, effects)
    return None


def _state_in(document: dict[str, Any], path: Path, boot_id: BootId, effects: Effects) -> Evacuation | None:
    if document.get("boot") != boot_id:
        return None
    if document.get("schema") != SCHEMA:
        raise RecordInvalid("read", str(path), f"schema {document.get('schema')}, this version knows {SCHEMA}")
    return state_of(document["state"], effects=effects)
