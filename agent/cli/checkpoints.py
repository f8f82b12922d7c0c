"""`hpc-agent checkpoints`: what can be restored, newest first."""

import argparse
import asyncio
import os
from collections.abc import Sequence
from typing import Any, Final

from agent.checkpoint.catalog import Listed, list_checkpoints, load_head
from agent.checkpoint.format import FormatInvalid
from agent.checkpoint.together import one_error
from agent.cli.bucket import Place, add_filters, opened, place
from agent.cli.exits import Exit
from agent.cli.output import document, note, say, size, unwalked
from agent.clock import stamp
from agent.model.checkpoint import Commit
from agent.settings import Settings, load
from agent.store.base import ObjectMissing, ObjectStore

LIMIT: Final = 50


def arguments(parser: argparse.ArgumentParser) -> None:
    add_filters(parser)
    parser.add_argument("--limit", type=int, default=LIMIT, metavar="N", help=f"list the newest N (default {LIMIT})")
    parser.add_argument("--json", action="store_true", help="as a JSON document")


def run(chosen: argparse.Namespace) -> int:
    settings = load(chosen.config, os.environ)
    at = place(chosen.source, settings)
    commits, more = asyncio.run(_listed(chosen, settings, at))
    if chosen.json:
        document({"schema": 1, "checkpoints": [summary(commit) for commit in commits], "more": more})
        return Exit.DONE
    if commits:
        say(_table([summary(commit) for commit in commits]))
    else:
        note(f"no checkpoints in {at}")
    if more:
        note(f"{more} older ones are not listed (--limit)")
    return Exit.DONE


async def _listed(chosen: argparse.Namespace, settings: Settings, at: Place) -> tuple[list[Commit], int]:
    async with opened(at, settings) as store:
        listed = await list_checkpoints(store, at.prefix, cluster=chosen.cluster, node=chosen.node)
        newest = listed[: max(0, chosen.limit)]
        slots = asyncio.Semaphore(settings.s3.connections)
        with one_error():
            async with asyncio.TaskGroup() as group:
                loads = [group.create_task(_load(store, at, one, slots), name=f"load {one.key}") for one in newest]
    return [commit for load in loads if (commit := load.result()) is not None], len(listed) - len(newest)


async def _load(store: ObjectStore, at: Place, listed: Listed, slots: asyncio.Semaphore) -> Commit | None:
    async with slots:
        try:
            return await load_head(store, at.prefix, listed.key)
        except (FormatInvalid, ObjectMissing) as error:
            note(f"passed over: {error}")
            return None


def summary(commit: Commit) -> dict[str, Any]:
    """Return what a list says of one checkpoint."""
    head = commit.head
    return {
        "id": head.checkpoint,
        "n": head.n,
        "cluster": head.cluster,
        "node": head.node,
        "writer": head.writer,
        "created_at": stamp(head.created_at),
        "reason": head.reason,
        "complete": head.complete,
        "quiesced": head.quiesced,
        "files": head.totals.files,
        "bytes": head.totals.bytes,
        "torn": head.totals.torn,
        "left_files": head.left.files,
        "left_bytes": head.left.bytes,
        "seen_files": head.left.seen,
        "key": commit.key,
        "digest": commit.digest,
    }


def _table(found: Sequence[dict[str, Any]]) -> str:
    width = max(4, *(len(each["node"]) for each in found))
    rows = [
        f"{each['id']}  {each['node']:{width}}  {'complete' if each['complete'] else 'PARTIAL':8}"
        f"  {each['files']:>10,}  {size(each['bytes']):>10}  {each['created_at'][:19].replace('T', ' ')}"
        f"{'' if each['seen_files'] is None else '  ' + unwalked(each['seen_files'])}"
        for each in found
    ]
    head = f"{'ID':29}  {'NODE':{width}}  {'STATE':8}  {'FILES':>10}  {'BYTES':>10}  COMMITTED (UTC)"
    return "\n".join((head, *rows))
