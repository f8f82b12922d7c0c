"""Every look at this node: IMDS first, since others need to know who we are, then all the rest side by side."""

import asyncio
import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import Executor
from functools import partial
from typing import Any, Final
from urllib.parse import urlsplit

from agent.doctor import bucket, cloud, daemon, metadata, slurm
from agent.doctor.finding import Finding, unknown
from agent.doctor.http import status_of
from agent.doctor.scratch import look_at_scratch
from agent.errors import AgentError
from agent.imds.client import ENDPOINT, Imds
from agent.model.node import Identity
from agent.settings import Settings
from agent.value import value

IMDS_SECONDS: Final = 5.0
SECONDS: Final = 13.0
"""Seconds for all looks after IMDS; with the start of Python the whole stays under 20."""

Status = Mapping[str, Any]
Told = Callable[[Sequence[str]], None]


@value
class Look:
    """One subject; `names` are its findings', for when there is no time to learn them."""

    names: Sequence[str]
    begin: Callable[[], Awaitable[Sequence[Finding]]]


async def examine(
    settings: Settings,
    *,
    imds: Imds,
    machine: slurm.Machine,
    executor: Executor,
    ask_daemon: Callable[[], Status | AgentError],
    probe_id: str,
    told: Told,
) -> list[Finding]:
    """Return all findings within IMDS_SECONDS + SECONDS. `told` hears the subjects that are still looked at."""
    who = _Who()
    told(metadata.NAMES)
    names = (*metadata.NAMES, metadata.CLOCK)
    first = await bounded(Look(names=names, begin=partial(_look_at_imds, settings, imds, who)), IMDS_SECONDS)
    looks = _looks(settings, who.identity, imds, machine, executor, ask_daemon, probe_id)
    return [daemon.look_at_mode(settings), *first, *await side_by_side(looks, SECONDS, told)]


class _Who:
    identity: Identity | None = None


async def _look_at_imds(settings: Settings, imds: Imds, who: _Who) -> list[Finding]:
    place = urlsplit(settings.aws.metadata_endpoint or ENDPOINT)
    without_token = partial(status_of, place.hostname or "", place.port or 80, "/latest/meta-data/", seconds=1.0)
    findings, who.identity = await metadata.look_at_imds(imds, without_token)
    return [*findings, metadata.look_at_clock(imds.skew)]


def _looks(
    settings: Settings,
    identity: Identity | None,
    imds: Imds,
    machine: slurm.Machine,
    executor: Executor,
    ask_daemon: Callable[[], Status | AgentError],
    probe_id: str,
) -> list[Look]:
    loop, processes = asyncio.get_running_loop(), machine.processes
    region = (identity.region if identity else "") or settings.aws.region
    instance_id = identity.instance_id if identity else ""

    def scratch(path: str) -> Look:
        look = partial(look_at_scratch, path, must_be_mounted=settings.scratch.require_mount)
        return Look(names=[f"scratch {path}"], begin=lambda: _one(loop.run_in_executor(executor, look)))

    async def the_daemon() -> list[Finding]:
        status = await loop.run_in_executor(executor, ask_daemon)
        margin = settings.evacuation.safety_margin.total_seconds()
        return [daemon.look_at_daemon(status), daemon.look_at_cost(status, safety_margin=margin)]

    return [
        Look(
            names=bucket.NAMES,
            begin=lambda: bucket.look_at_bucket(settings, processes, probe_id=probe_id, region=region),
        ),
        Look(
            names=(cloud.ENDPOINT, cloud.HOPS),
            begin=lambda: cloud.look_at_vpc(settings, processes, identity),
        ),
        Look(names=(cloud.RIGHTS,), begin=lambda: _one(cloud.look_at_rights(settings, processes, identity))),
        Look(names=(cloud.HOOK,), begin=lambda: _one(cloud.look_at_hook(imds, processes, identity))),
        Look(names=slurm.NAMES, begin=lambda: slurm.look_at_slurm(settings, machine, instance_id=instance_id)),
        *(scratch(os.fspath(path)) for path in settings.scratch.paths),
        Look(names=(daemon.DAEMON, daemon.COST), begin=the_daemon),
        Look(names=(daemon.PORT,), begin=lambda: _one(daemon.look_at_port(settings.http.listen))),
    ]


async def _one(finding: Awaitable[Finding]) -> list[Finding]:
    return [await finding]


async def side_by_side(looks: Sequence[Look], seconds: float, told: Told) -> list[Finding]:
    """Return the findings of all looks in their order, each look bounded to `seconds`."""
    waiting = {look.names[0]: None for look in looks}

    async def one(look: Look) -> Sequence[Finding]:
        findings = await bounded(look, seconds)
        del waiting[look.names[0]]
        told(list(waiting))
        return findings

    told(list(waiting))
    async with asyncio.TaskGroup() as crew:
        tasks = [crew.create_task(one(look), name=f"look at {look.names[0]}") for look in looks]
    return [finding for task in tasks for finding in task.result()]


async def bounded(look: Look, seconds: float) -> Sequence[Finding]:
    """Return what the look finds; unknown is what it does not find in time, or can't."""
    try:
        async with asyncio.timeout(seconds):
            return await look.begin()
    except TimeoutError:
        return [unknown(name, f"no answer within {seconds:g} s") for name in look.names]
    except AgentError as error:
        return [unknown(name, f"{error.op} {error.subject}: {error.detail}", error.hint) for name in look.names]
