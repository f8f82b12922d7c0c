"""The copier's life: `python -m agent.copier`, with a socket to control as a descriptor."""

import asyncio
import contextlib
import ctypes
import gc
import os
import signal
import socket
import sys
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Final, cast

from agent.aws.session import open_store
from agent.chance import SystemChance
from agent.clock import SystemClock
from agent.copier.protocol import LONGEST, Message, NotUnderstood, Setup, Waiting, decode, encode
from agent.copier.session import Session
from agent.errors import TransientError
from agent.observe.logs import setup as setup_logs
from agent.store.base import ObjectStore
from agent.store.counted import Counted
from agent.store.retrying import Retrying

PR_SET_PDEATHSIG: Final = 1
OBJECTS: Final = 100_000
"""How many more there are before the collector looks for cycles: rows of files come and go by the thousand, in none."""
OPEN_AGAIN: Final = 1.0
"""Seconds before credentials are looked for again."""


def main(descriptor: int, parent: int) -> None:
    """Serve control over the socket `descriptor` until it closes. `parent` is the process that must be alive."""
    die_with(parent)
    gc.set_threshold(OBJECTS)
    setup_logs()
    asyncio.run(serve(socket.socket(fileno=descriptor)))


def die_with(parent: int) -> None:
    """Have the kernel kill this process when its parent dies: an orphan must not go on writing to S3."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        sys.exit(1)


async def serve(connection: socket.socket) -> None:
    """Take messages from `connection` until its end. Raises NotUnderstood when the first is no Setup."""
    reader, writer = await asyncio.open_connection(sock=connection, limit=LONGEST)

    def say(message: Message) -> None:
        writer.write(encode(message))

    setup = decode(await reader.readline())
    if not isinstance(setup, Setup):
        raise NotUnderstood("read", "message", "the first is no Setup")
    workers = setup.connections + 4
    with ThreadPoolExecutor(workers, thread_name_prefix="copier") as executor:
        async with contextlib.AsyncExitStack() as opened, asyncio.TaskGroup() as crew:
            counted = Counted(await _open(setup, opened, say))
            session = Session(
                setup=setup,
                store=Retrying(counted, chance=SystemChance(), waiting=lambda what: say(Waiting(what=what))),
                executor=executor,
                clock=SystemClock(),
                chance=SystemChance(),
                crew=crew,
                requests=lambda: requests(counted),
                say=say,
            )
            while line := await reader.readline():
                session.take(decode(line))
            os._exit(0)  # control has gone: whatever still runs has nobody to tell


async def _open(setup: Setup, opened: contextlib.AsyncExitStack, say: Callable[[Message], None]) -> ObjectStore:
    """Return the store, opened for as long as `opened` is; credentials may be late."""
    while True:
        store = open_store(
            bucket=setup.bucket,
            region=setup.region,
            endpoint_url=setup.endpoint or None,
            connections=setup.most_connections,
            expected_bucket_owner=setup.expected_bucket_owner,
            kms_key_id=setup.kms_key_id,
            ca_bundle=setup.ca_bundle,
        )
        try:
            return await opened.enter_async_context(store)
        except TransientError as error:
            say(Waiting(what=f"{error.op} {error.subject}: {error.detail}", hint=error.hint))
            await asyncio.sleep(OPEN_AGAIN)


def requests(store: Counted) -> Mapping[str, int]:
    """Return how many requests were made, by "operation outcome"."""
    counts = cast("Mapping[str, Mapping[str, int]]", store.snapshot()["requests"])
    return {f"{operation} {end}": n for operation, ends in counts.items() for end, n in ends.items() if n}
