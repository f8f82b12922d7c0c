"""How bodies are sent: whole, or while they are read, where the other side understands that."""

import asyncio
from collections.abc import Awaitable, Iterator
from concurrent.futures import Executor
from dataclasses import replace
from typing import Final, Protocol

from agent.aws.wire.body import Flowing, Held
from agent.aws.wire.client import Request
from agent.aws.wire.line import Heard, whole
from agent.aws.wire.message import Head
from agent.checksum import crc64nvme, from_base64, to_base64
from agent.store.base import Body, BodyRefused, Flow, StoreDenied

CRC: Final = "x-amz-checksum-crc64nvme"
_MOST_WHOLE: Final = 16
"""Bodies held in memory at once where they can't flow."""


class Ask(Protocol):
    def __call__(self, request: Request, heard: Heard[Head]) -> Awaitable[Head]: ...


class Bodies:
    """`are_checked`: what is asked is S3 itself, which reads the checksum behind a body.

    Others may refuse it, or store it with the frame around it and say that all is well. One of them is believed once
    it has told the checksum of such a body; until then, and for ever if it does not, what it got is sent again, whole.
    """

    def __init__(self, ask: Ask, threads: Executor, *, are_checked: bool) -> None:
        self._ask = ask
        self._threads = threads
        self._may_flow: bool | None = True if are_checked else None
        self._room = asyncio.Semaphore(_MOST_WHOLE)

    async def send(self, request: Request, body: Body, checksum: int | None) -> tuple[Head, int]:
        """Return the answer, and the checksum of what was sent. Raises AgentError, and what reading a `Flow` raises."""
        if isinstance(body, bytes | memoryview):
            return await self._held(request, body, checksum)
        if self._may_flow is not False:
            try:
                return await self._flowing(request, body)
            except (StoreDenied, BodyRefused):
                if self._may_flow:
                    raise
        async with self._room:
            data = await asyncio.get_running_loop().run_in_executor(self._threads, _read, body)
            told = await self._held(request, data, crc64nvme(data))
        if self._may_flow is None:
            self._may_flow = False
        return told

    async def _held(self, request: Request, data: bytes | memoryview, checksum: int | None) -> tuple[Head, int]:
        going = Held(data, checksum)
        head = await self._ask(replace(request, body=going), only_head)
        agree(request, head.headers.get(CRC, ""), going.checksum)
        return head, going.checksum

    async def _flowing(self, request: Request, flow: Flow) -> tuple[Head, int]:
        going = Flowing(flow)
        head = await self._ask(replace(request, body=going), only_head)
        theirs = head.headers.get(CRC, "")
        if not theirs and not self._may_flow:
            raise BodyRefused(request.op, request.subject, "the checksum behind the body was not read")
        agree(request, theirs, going.checksum)
        self._may_flow = True
        return head, going.checksum


def size_of(body: Body) -> int:
    """Return how many bytes a body has."""
    return memoryview(body).nbytes if isinstance(body, bytes | memoryview) else body.size


def agree(request: Request, theirs: str, ours: int) -> None:
    """Raise BodyRefused when S3 reports another checksum than ours."""
    if theirs and from_base64(theirs) != ours:
        raise BodyRefused(request.op, request.subject, f"S3 computed {theirs}, sent was {to_base64(ours)}")


def only_head(head: Head, pieces: Iterator[memoryview]) -> Head:
    """Take an answer whose body says nothing."""
    whole(pieces)
    return head


def _read(flow: Flow) -> memoryview:
    data = memoryview(bytearray(flow.size))
    flow.read(0, data)
    return data
