"""A checkpoint of any directory, made by the command itself: no daemon, no Slurm."""

import argparse
import asyncio
import os
import socket
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

from agent.chance import SystemChance
from agent.checkpoint.head import commit_document
from agent.checkpoint.keys import new_id
from agent.checkpoint.receipts import Receipts
from agent.checkpoint.save import Saver
from agent.cli.bucket import Place, opened, place
from agent.cli.output import note
from agent.cli.progress import Told, display
from agent.clock import SystemClock
from agent.errors import AgentError
from agent.model.checkpoint import CheckpointId
from agent.model.node import BootId, InstanceId, Node, NodeName
from agent.settings import Settings, load

BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")
CLUSTER: Final = "standalone-00000000"
NOBODY: Final = "-"
"""The writer away from EC2 (docs/format.md)."""


def save(chosen: argparse.Namespace) -> Mapping[str, Any]:
    """Make the checkpoint, showing progress, and return what its last commit says, and `trouble`."""
    settings = load(chosen.config, os.environ)
    at = place(chosen.to, settings)
    with display("saving", quiet=chosen.json) as shown:
        return asyncio.run(_save(Path(chosen.source).resolve(), at, settings, Told(shown)))


async def _save(source: Path, at: Place, settings: Settings, told: Told) -> Mapping[str, Any]:
    clock, chance = SystemClock(), SystemChance()
    with ThreadPoolExecutor(settings.s3.connections + 4, thread_name_prefix="saving") as executor:
        async with opened(at, settings, told.waiting) as store:
            saver = Saver(
                store=store,
                prefix=at.prefix,
                node=await _node(settings),
                checkpoint=CheckpointId(new_id(clock, chance)),
                reason="manual",
                notice=None,
                roots=[source],
                exclude=settings.scratch.exclude,
                priority=settings.scratch.priority,
                receipts=Receipts(None),
                clock=clock,
                chance=chance,
                executor=executor,
                report=told.progress,
                connections=settings.s3.connections,
                most_connections=settings.s3.most_connections,
                part_size=settings.s3.part_size,
                pack_below=settings.checkpoint.pack_below,
                pack_size=settings.checkpoint.pack_size,
            )
            await saver.copy()
            commit = await saver.commit()
    return {**commit_document(commit), "trouble": list(saver.trouble)}


async def _node(settings: Settings) -> Node:
    return Node(
        name=NodeName(settings.node.name or socket.gethostname().split(".")[0]),
        cluster=settings.node.cluster or CLUSTER,
        instance_id=InstanceId(""),
        boot_id=BootId(BOOT_ID.read_text().strip()),
        writer=settings.node.writer or await _writer(settings),
    )


async def _writer(settings: Settings) -> str:
    """Return the caller's `aws:userid`; a store that is not AWS has none."""
    if settings.aws.s3_endpoint:
        return NOBODY
    from agent.aws.caller import caller_userid

    try:
        return await caller_userid()
    except AgentError as error:
        note(f"writing as {NOBODY!r}, because who we are is not known: {error}")
        return NOBODY
