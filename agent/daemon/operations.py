"""What can be asked of the daemon over its control socket."""

import os
from collections.abc import AsyncGenerator, Callable
from datetime import datetime, timedelta
from typing import Any, Final

from agent.clock import Clock, parse_stamp, stamp
from agent.daemon.control import BadRequest
from agent.evacuation.plan import BLIND_WINDOW
from agent.jobs.choice import Result
from agent.notices.operator import OperatorSource

Json = dict[str, Any]

DEFAULT_WINDOW: Final = BLIND_WINDOW
"""Seconds until the end of an evacuation for which the operator gave no time."""


class Operations:
    """`status` for everybody; `evacuate`, `cancel` and `restored` for root.

    `status` is told whether root asks, or who the daemon runs as; `wake` has the operator's notice looked at now;
    `count` takes what a requeued job that begins here got back.
    """

    def __init__(
        self,
        *,
        status: Callable[[bool], Json],
        operator: OperatorSource,
        wake: Callable[[], None],
        count: Callable[[Result], None],
        clock: Clock,
    ) -> None:
        self._status = status
        self._operator = operator
        self._wake = wake
        self._count = count
        self._clock = clock

    async def status(self, request: Json) -> AsyncGenerator[Json, None]:
        yield self._status(request["uid"] in {0, os.geteuid()})  # a daemon that is not root has no more than its user

    async def evacuate(self, request: Json) -> AsyncGenerator[Json, None]:
        """Act as if noticed. `deadline` is a time (RFC 3339) or null for DEFAULT_WINDOW seconds from now."""
        deadline = request.get("deadline")
        try:
            ends_at = self._clock.now() + timedelta(seconds=DEFAULT_WINDOW) if deadline is None else _time(deadline)
        except ValueError as error:
            raise BadRequest("read", "deadline", f"not a time: {deadline!r}", hint="2026-11-23T09:15:00Z") from error
        if ends_at < self._clock.now():
            raise BadRequest("evacuate until", stamp(ends_at), "this time is past")
        self._operator.evacuate(ends_at)
        self._wake()
        yield {"result": {"deadline": stamp(ends_at)}}

    async def cancel(self, _request: Json) -> AsyncGenerator[Json, None]:
        """Withdraw the operator's notice."""
        stood = self._operator.cancel()
        self._wake()
        yield {"result": {"cancelled": stood}}

    async def restored(self, request: Json) -> AsyncGenerator[Json, None]:
        """Count what the Prolog has brought back of a job's files: `result` is a word of HPC_AGENT_RESTORE."""
        word = request.get("result")
        try:
            result = Result(str(word))
        except ValueError as error:
            raise BadRequest("read", "result", f"no such result: {word!r:.60}", hint=", ".join(Result)) from error
        self._count(result)
        yield {"result": {"counted": result}}


def _time(text: object) -> datetime:
    return parse_stamp(str(text))
