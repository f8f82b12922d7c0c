"""The copier's way in: `python -m agent copier`, with a socket to control as a descriptor."""

import asyncio
import contextlib
import ctypes
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, cast

from agent.aws.session import open_store
from agent.chance import SystemChance
from agent.clock import SystemClock
from agent.copier.protocol import LONGEST, Message, Waiting, decode, encode
from agent.copier.session import Session
from agent.errors import TransientError
from agent.observe.logs import setup
from agent.settings import Settings, load
from agent.store.base import ObjectStore
from agent.store.counted import Counted
from agent.store.retrying import Retrying

logger = logging.getLogger(__name__)

PR_SET_PDEATHSIG: Final = 1
OPEN_AGAIN: Final = 1.0
"""Seconds before credentials are looked for again."""


def main(*, config: Path | None, descriptor: int, parent: int, niceness: int, group: Path | None) -> int:
    """Serve control over the socket `descriptor` until it closes. `parent` is the process that must be alive."""
    die_with(parent)
    os.nice(niceness)
    setup()
    if group is not None:
        enter(group)
    settings = load(config, os.environ)
    asyncio.run(serve(settings, socket.socket(fileno=descriptor)))
    return 0


def die_with(parent: int) -> None:
    """Have the kernel kill this process when its parent dies: an orphan must not go on writing to S3."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        sys.exit(1)


def enter(group: Path) -> None:
    """Move this process into a cgroup. What it does matters more than what it weighs: a refusal is only told."""
    try:
        (group / "cgroup.procs").write_text("0")
    except OSError as error:
        logger.warning("not in %s: %s", group, error.strerror)


async def serve(settings: Settings, connection: socket.socket) -> None:
    """Take messages from `connection` until its end."""
    reader, writer = await asyncio.open_connection(sock=connection, limit=LONGEST)

    def say(message: Message) -> None:
        writer.write(encode(message))

    workers = settings.s3.connections + 4
    with ThreadPoolExecutor(workers, thread_name_prefix="copier") as executor:
        async with contextlib.AsyncExitStack() as opened, asyncio.TaskGroup() as crew:
            counted = Counted(await _open(settings, opened, say))
            session = Session(
                settings=settings,
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


async def _open(settings: Settings, opened: contextlib.AsyncExitStack, say: Callable[[Message], None]) -> ObjectStore:
    """Return the store, opened for as long as `opened` is; credentials may be late."""
    while True:
        store = open_store(
            bucket=settings.s3.bucket,
            region=settings.aws.region,
            endpoint_url=settings.aws.s3_endpoint or None,
            connections=settings.s3.connections,
            expected_bucket_owner=settings.s3.expected_bucket_owner,
            kms_key_id=settings.s3.kms_key_id,
            ca_bundle=settings.aws.ca_bundle,
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
