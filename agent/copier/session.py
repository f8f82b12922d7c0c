"""One conversation with control: what it asks is done here, what happens is told as it happens."""

import asyncio
import contextlib
import ctypes
import gc
import json
import logging
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from agent.chance import Chance
from agent.checkpoint.cache import Cache
from agent.checkpoint.choice import Choice
from agent.checkpoint.head import commit_document
from agent.checkpoint.horizon import Horizon
from agent.checkpoint.keys import full
from agent.checkpoint.opening import Opening
from agent.checkpoint.receipts import Receipts
from agent.checkpoint.save import Saver
from agent.checkpoint.scan import scan
from agent.checksum import crc64nvme
from agent.clock import Clock
from agent.copier.protocol import (
    Committed,
    Copied,
    Enter,
    Finish,
    Message,
    Moved,
    Record,
    Recorded,
    Refused,
    Rest,
    Save,
    Saved,
    Scan,
    Scanned,
    Setup,
    Until,
)
from agent.errors import AgentError
from agent.model.checkpoint import CheckpointId
from agent.model.node import BootId, InstanceId, Node, NodeName
from agent.model.progress import Progress
from agent.scratch.layers import bytes_on_disk
from agent.store.base import ObjectExists, ObjectStore
from agent.store.limited import Limited

logger = logging.getLogger(__name__)

CLOSING: Final = 1.0
"""Seconds for the tasks of a session to end when control has gone."""


class Session:
    """Answers control's messages, in a task group of its caller so that Finish can overtake a copy."""

    def __init__(
        self,
        *,
        setup: Setup,
        store: ObjectStore,
        executor: Executor,
        clock: Clock,
        chance: Chance,
        crew: asyncio.TaskGroup,
        requests: Callable[[], Mapping[str, int]],
        say: Callable[[Message], None],
    ) -> None:
        self._setup = setup
        self._store = store
        self._executor = executor
        self._clock = clock
        self._chance = chance
        self._crew = crew
        self._requests = requests
        self._say = say
        self._is_fresh = True
        self._horizon = Horizon(None)
        self._saver: Saver | None = None
        self._copying: asyncio.Task[None] | None = None

    def take(self, message: Message) -> None:
        """Begin what `message` asks for."""
        if isinstance(message, Enter):
            enter(Path(message.group))
            return
        since, self._is_fresh = 0.0 if self._is_fresh else time.process_time(), False
        match message:
            case Save():
                self._forget_all_but(message.checkpoint)
                self._horizon = Horizon(message.until)
                self._copying = self._crew.create_task(self._copy(message), name="copy")
                if message.begun is not None:
                    begun = Record(name=message.begun["name"], document=message.begun["document"])
                    self._crew.create_task(self._record(begun), name="begun")
            case Until():
                self._horizon.move(message.until)
            case Scan():
                self._crew.create_task(self._scan(message, since), name="scan")
            case Finish():
                self._crew.create_task(self._finish(), name="finish")
            case Record():
                self._crew.create_task(self._record(message), name="record")
            case Rest():
                self._forget_all_but(None)
                gc.collect()
                ctypes.CDLL(None).malloc_trim(0)
            case _:
                self._say(Refused(asked=type(message).__name__, what="not something to ask a copier", hint=""))

    def _forget_all_but(self, checkpoint: str | None) -> None:
        """Let go of another checkpoint than this one: a Finish never commits what an earlier order was about."""
        if self._saver is not None and self._saver.checkpoint != checkpoint:
            self._saver = self._copying = None

    async def _copy(self, command: Save) -> None:
        try:
            self._saver = saver = await self._prepare(command)
            await saver.copy()
        except AgentError as error:
            self._refuse(command, error)
        else:
            self._say(Copied(trouble=saver.trouble))

    async def _scan(self, command: Scan, since: float) -> None:
        """Look at the tree, and say what that cost: the CPU seconds of this process beyond `since`."""
        setup, loop, began = self._setup, asyncio.get_running_loop(), asyncio.get_running_loop().time()
        opening = Opening(
            store=self._store,
            prefix=setup.prefix,
            cache=self._cache(command.cache),
            executor=self._executor,
            clock=self._clock,
        )
        try:
            found = await scan(
                roots=[Path(path) for path in setup.paths],
                exclude=[*setup.exclude, *command.exclude],
                opening=opening,
                executor=self._executor,
            )
        except AgentError as error:
            self._refuse(command, error)
            return
        layers = [Path(path) for path in command.layers]
        layer_bytes = await loop.run_in_executor(self._executor, bytes_on_disk, layers)
        self._say(
            Scanned(
                files=found.files,
                bytes=found.bytes,
                oldest=None if found.oldest_change is None else found.oldest_change.timestamp(),
                by_age=found.by_age,
                total_files=found.total_files,
                total_bytes=found.total_bytes,
                layer_bytes=layer_bytes,
                seconds=loop.time() - began,
                cpu_seconds=time.process_time() - since,
            )
        )

    async def _prepare(self, command: Save) -> Saver:
        setup = self._setup
        path = Path(command.receipts) if command.receipts else None
        receipts = await asyncio.get_running_loop().run_in_executor(self._executor, Receipts.load, path)
        limit = command.bytes_per_second
        return Saver(
            store=self._store if limit is None else Limited(self._store, bytes_per_second=limit),
            prefix=setup.prefix,
            node=node_of(command.node),
            checkpoint=CheckpointId(command.checkpoint),
            reason=command.reason,
            notice=command.notice,
            roots=[Path(path) for path in setup.paths],
            exclude=[*setup.exclude, *command.exclude],
            only=command.only,
            priority=setup.priority,
            receipts=receipts,
            clock=self._clock,
            chance=self._chance,
            executor=self._executor,
            report=self._report,
            committed=lambda commit: self._say(Committed(saved=commit_document(commit))),
            connections=setup.connections,
            most_connections=setup.most_connections,
            streams=None if self._saver is None else self._saver.streams.again(),
            part_size=setup.part_size,
            pack_below=setup.pack_below,
            pack_size=setup.pack_size,
            commit_every=command.commit_every,
            jobs=command.jobs,
            cache=self._cache(command.cache),
            choice=_choice(command),
            refresh_after=timedelta(seconds=setup.retention) / (2 if command.reason == "lead" else 1),
            horizon=self._horizon,
        )

    def _cache(self, directory: str) -> Cache | None:
        place = f"s3://{self._setup.bucket}/{self._setup.prefix}"
        return Cache(Path(directory), place=place) if directory else None

    def _report(self, progress: Progress) -> None:
        self._say(Moved(progress=progress, requests=dict(self._requests())))

    async def _finish(self) -> None:
        if self._copying is not None:
            self._copying.cancel()
            await asyncio.wait([self._copying])
        if self._saver is None:
            self._say(Refused(asked="Finish", what="nothing was copied", hint=""))
            return
        try:
            commit = await self._saver.commit()
        except AgentError as error:
            self._refuse(Finish(), error)
        else:
            self._say(Saved(saved=commit_document(commit), trouble=self._saver.trouble))

    async def _record(self, command: Record) -> None:
        body = json.dumps(command.document, indent=1, sort_keys=True).encode()
        try:
            with contextlib.suppress(ObjectExists):  # ours: its reply was lost, or this is a second life of the agent
                await self._store.put(
                    full(self._setup.prefix, command.name), body, crc64nvme=crc64nvme(body), if_absent=True
                )
        except AgentError as error:
            self._refuse(command, error)
        else:
            self._say(Recorded(name=command.name))

    def _refuse(self, asked: Message, error: AgentError) -> None:
        self._say(
            Refused(asked=type(asked).__name__, what=f"{error.op} {error.subject}: {error.detail}", hint=error.hint)
        )


def enter(group: Path) -> None:
    """Move this process into a cgroup. What it does matters more than what it weighs: a refusal is only told."""
    try:
        (group / "cgroup.procs").write_text("0")
    except OSError as error:
        logger.warning("not in %s: %s", group, error.strerror)


def _choice(command: Save) -> Choice:
    before = command.changed_before
    return Choice(
        changed_before=None if before is None else datetime.fromtimestamp(before, UTC), most_bytes=command.most_bytes
    )


def node_of(fields: Mapping[str, str]) -> Node:
    return Node(
        name=NodeName(fields["name"]),
        cluster=fields["cluster"],
        instance_id=InstanceId(fields["instance_id"]),
        boot_id=BootId(fields["boot_id"]),
        writer=fields["writer"],
    )
