"""The life of the daemon: from the settings to the last task, in one task group."""

import asyncio
import contextlib
import logging
import os
import threading
from collections.abc import AsyncIterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, NoReturn

from agent.chance import SystemChance
from agent.clock import SystemClock
from agent.daemon.capabilities import Capabilities, Capability, Name
from agent.daemon.cgroup import Group, NotDivided, divide, own_group
from agent.daemon.compose import Daemon
from agent.daemon.memory import Memory
from agent.daemon.policies import policy_of
from agent.daemon.saving import Saving, forget_receipts
from agent.daemon.sdnotify import Systemd
from agent.errors import PermanentError
from agent.evacuation.phases import Phase
from agent.evacuation.record import RecordInvalid
from agent.evacuation.state import Effects, Evacuation
from agent.imds.client import ENDPOINT, Imds
from agent.journal import Journal, JournalBroken, last_state
from agent.model.node import BootId
from agent.observe.http import serving
from agent.observe.logs import setup
from agent.processes import SystemProcesses
from agent.settings import Settings

logger = logging.getLogger(__name__)

BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")
WORKERS: Final = 4
"""Threads for what may block: the journal, looks at disks. Copying has its own process."""
RECONCILE_SECONDS: Final = 2.0
"""Seconds that an evacuation of the journal waits for the sources of its notices to answer."""
ENDING: Final = 2.0
"""Seconds that the threads get at the end."""
LOOK_EVERY: Final = 30.0
"""Seconds between looks at what can come and go: the scratch mount."""


def run(settings: Settings) -> NoReturn:
    """Be the daemon until told to end, and end the process."""
    setup()
    asyncio.run(live(settings, os.environ))
    logging.shutdown()
    # Python itself would wait for every thread for ever.
    os._exit(0)


async def live(settings: Settings, environ: Mapping[str, str]) -> None:
    """Run every part until SIGTERM."""
    systemd, clock, boot_id = Systemd(environ), SystemClock(), BootId(BOOT_ID.read_text().strip())
    capabilities = Capabilities(clock, _log)
    effects = Effects.of(settings.mode, requeue=settings.slurm.requeue)
    directory = _state_directory(Path(settings.state.dir), capabilities)
    executor = ThreadPoolExecutor(WORKERS, thread_name_prefix="agent")
    async with Imds(clock=clock, endpoint=settings.aws.metadata_endpoint or ENDPOINT) as imds:
        daemon = Daemon(
            settings,
            state=replace(_state(directory, boot_id, effects), policy=policy_of(settings.policy)),
            environ=environ,
            boot_id=boot_id,
            memory=Memory.load(_memory(directory), boot_id),
            imds=imds,
            journal=Journal(
                (directory or Path(settings.state.dir)) / "journal.jsonl",
                boot_id=boot_id,
                executor=executor,
                broken=lambda error: _journal(capabilities, settings.state.dir, error),
            ),
            capabilities=capabilities,
            saving=Saving(settings, capabilities=capabilities, directory=directory, executor=executor),
            systemd=systemd,
            groups=_groups(capabilities),
            processes=SystemProcesses(),
            executor=executor,
            clock=clock,
            chance=SystemChance(),
        )
        await _serve(daemon, systemd, directory)
    _end(executor)


def _end(executor: ThreadPoolExecutor) -> None:
    """Let the threads finish what they write; one that sits in the kernel on a dead disk is not waited for."""
    ending = threading.Thread(target=executor.shutdown, name="end of executor", daemon=True)
    ending.start()
    ending.join(ENDING)


async def _serve(daemon: Daemon, systemd: Systemd, directory: Path | None) -> None:
    daemon.leaving.install()  # before anybody can see it run
    async with contextlib.AsyncExitStack() as doors:
        await _open(doors, daemon.control.listening(), Name.SOCKET, daemon)
        await _open(doors, _http(daemon), Name.HTTP, daemon)
        async with asyncio.TaskGroup() as crew:
            tasks = [
                *(crew.create_task(watcher.run(), name=watcher.name) for watcher in daemon.hearing.watchers),
                crew.create_task(_reconcile_and_run(daemon), name="runner"),
                crew.create_task(daemon.journal.run(), name="journal"),
                crew.create_task(daemon.scrape.follow(daemon.feed.subscribe()), name="metrics"),
                crew.create_task(daemon.notice_file.follow(daemon.feed.subscribe()), name="notice file"),
                crew.create_task(daemon.hook.follow(daemon.feed.subscribe()), name="hook"),
                crew.create_task(daemon.hearing.reserving.run(), name="reservation"),
                crew.create_task(daemon.barrier.run(), name="barrier"),
                crew.create_task(_find_out(daemon, directory), name="whoami"),
                crew.create_task(_look_around(daemon, directory), name="saving"),
                crew.create_task(daemon.copies.leading.run(), name="lead"),
                crew.create_task(_tell_systemd(daemon, systemd), name="systemd"),
            ]
            await daemon.leaving.wait()
            for task in tasks:
                task.cancel()


async def _reconcile_and_run(daemon: Daemon) -> None:
    """Hear whether the notices of the journal still stand before acting on them; silence does not withdraw them."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(RECONCILE_SECONDS):
            while daemon.runner.state.standing and not daemon.hearing.is_complete:  # noqa: ASYNC110 - two seconds, at a start
                await asyncio.sleep(0.02)
    daemon.runner.started()
    await daemon.runner.run()


async def _open(
    doors: contextlib.AsyncExitStack, door: AbstractAsyncContextManager[Any], name: Name, daemon: Daemon
) -> None:
    """Open a door if it can be; everything else works without it (P6)."""
    try:
        where = await doors.enter_async_context(door)
    except PermanentError as error:
        daemon.capabilities.off(name, f"{error.subject}: {error.detail}", error.hint)
    else:
        daemon.capabilities.on(name, str(where or ""))


@contextlib.asynccontextmanager
async def _http(daemon: Daemon) -> AsyncIterator[str]:
    if not daemon.settings.http.listen:
        yield "not asked for"
        return

    def refresh() -> Any:
        daemon.hearing.look_at_imds()
        daemon.scrape.refresh()
        return daemon.metrics.registry

    async with serving(daemon.settings.http.listen, refresh, lambda: daemon.hearing.healthy) as where:
        yield where


async def _find_out(daemon: Daemon, directory: Path | None) -> None:
    await daemon.whoami.run()
    whoami = daemon.whoami
    logger.info("node %s of %s, writing as %s", whoami.name, whoami.cluster, whoami.writer)
    _remember(
        daemon,
        directory,
        name=whoami.name,
        cluster=whoami.cluster,
        writer=whoami.writer,
        instance_id=whoami.instance_id,
    )


def _remember(daemon: Daemon, directory: Path | None, **found: Any) -> None:
    memory = replace(daemon.memory, in_service=daemon.hearing.asg.was_in_service, **found)
    if directory is not None and memory != daemon.memory:
        with contextlib.suppress(OSError):  # a convenience: without it the next start asks again
            memory.save(_memory(directory))
    daemon.memory = memory


async def _look_around(daemon: Daemon, directory: Path | None) -> None:
    while True:
        await daemon.saving.look()
        expected = daemon.saving.estimate()
        if expected is not None and expected.is_measured:  # no drain begins hours early by a rate that is assumed
            daemon.runner.estimated(expected.seconds)
        _remember(daemon, directory)
        await asyncio.sleep(LOOK_EVERY)


async def _tell_systemd(daemon: Daemon, systemd: Systemd) -> None:
    """READY at once: whatever is missing on this node is shown, not waited for."""
    pause = min(10.0, (systemd.watchdog_seconds or 30.0) / 3)
    while True:
        state = daemon.runner.state
        ruling = state.ruling
        systemd.ready()  # each time: one that gets lost while systemd is busy would fail the start
        systemd.status(state.phase if ruling is None else f"{state.phase}: {ruling.kind} until {ruling.ends_at}")
        systemd.alive()
        await asyncio.sleep(pause)


def _state_directory(path: Path, capabilities: Capabilities) -> Path | None:
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        (path / ".probe").write_bytes(b"")
        (path / ".probe").unlink()
    except OSError as error:
        hint = "a restart would not know of an evacuation that is going on"
        capabilities.off(Name.JOURNAL, f"{path}: {error.strerror}", hint)
        return None
    capabilities.on(Name.JOURNAL, str(path))
    return path


def _groups(capabilities: Capabilities) -> Mapping[Group, Path]:
    own = own_group(Path("/proc/self/cgroup").read_text(), Path("/proc/self/mounts").read_text())
    try:
        groups = divide(own, os.getpid())
    except NotDivided as error:
        capabilities.off(Name.CGROUP, f"{error.subject}: {error.detail}", error.hint)
        return {}
    capabilities.on(Name.CGROUP, str(own))
    return groups


def _memory(directory: Path | None) -> Path:
    return (directory or Path("/nonexistent")) / "node.json"


def _state(directory: Path | None, boot_id: BootId, effects: Effects) -> Evacuation:
    fresh = Evacuation(effects=effects)
    if directory is None:
        return fresh
    try:
        state = last_state(directory / "journal.jsonl", boot_id=boot_id, effects=effects) or fresh
        forget_receipts(directory, None if state.phase is Phase.WATCHING else state.checkpoint)
    except RecordInvalid as error:
        logger.warning("the journal is not gone on from: %s", error)
        return fresh
    except OSError as error:
        logger.warning("receipts of the past stay in %s: %s", directory, error)
    return state


def _log(name: Name, known: Capability) -> None:
    if known.on:
        logger.info("%s: %s", name, known.detail or "on")
    else:
        logger.warning("%s is off: %s%s", name, known.detail, known.hint and f" ({known.hint})")


def _journal(capabilities: Capabilities, directory: str, error: JournalBroken | None) -> None:
    if error is None:
        capabilities.on(Name.JOURNAL, directory)
    else:
        capabilities.off(Name.JOURNAL, f"{error.subject}: {error.detail}", error.hint)
