"""What jobs and Slurm's Epilog can see of an evacuation without asking anybody: two files beside the control socket.

`notice.json` tells a job script what comes and when; `evacuating` is the flag that the Epilog looks at first. Both are
there exactly while the node is being left.
"""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterable
from concurrent.futures import Executor
from pathlib import Path
from typing import Any, Final

from agent.clock import stamp
from agent.evacuation.record import Record
from agent.evacuation.state import Evacuation
from agent.evacuation.work import EVACUATING

NOTICE: Final = "notice.json"
FLAG: Final = "evacuating"
SCHEMA: Final = 1

Json = dict[str, Any]


def notice_document(state: Evacuation) -> Json | None:
    """Return what jobs are told, None when there is nothing to tell. In observe mode nobody is told anything."""
    ruling = state.ruling
    if state.phase not in EVACUATING or ruling is None or not state.effects.save:
        return None
    return {"schema": SCHEMA, "kind": ruling.kind, "ends_at": stamp(ruling.ends_at), "takes_disk": state.saves}


class NoticeFile:
    """Keeps both files as the last state wants them. A directory that can't be written leaves jobs without them."""

    def __init__(self, directory: Path, executor: Executor) -> None:
        self._directory = directory
        self._executor = executor

    async def follow(self, records: AsyncIterable[Record]) -> None:
        """Write and remove as records come, until cancelled."""
        shown: Json | None = {}  # unknown: what a killed predecessor left is to be removed
        async for record in records:
            if (document := notice_document(record.state)) != shown:
                shown = document
                await asyncio.get_running_loop().run_in_executor(self._executor, self._show, document)

    def _show(self, document: Json | None) -> None:
        notice, flag = self._directory / NOTICE, self._directory / FLAG
        with contextlib.suppress(OSError):
            if document is None:
                notice.unlink(missing_ok=True)
                flag.unlink(missing_ok=True)
                return
            fresh = notice.with_suffix(".new")
            fresh.write_text(json.dumps(document) + "\n")
            flag.touch()
            for path in (fresh, flag):
                path.chmod(0o644)  # whatever the umask: jobs run as their users
            fresh.replace(notice)
