"""`hpc-agent restore`: the files of a checkpoint, below a directory."""

import argparse
import asyncio
import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from agent.checkpoint.catalog import find
from agent.checkpoint.restore import RestoreDamaged, Restorer
from agent.checkpoint.tally import Restored
from agent.checkpoint.together import blocking
from agent.cli.adoption import adopt, written_for
from agent.cli.bucket import Place, add_filters, opened, place
from agent.cli.exits import Exit
from agent.cli.named import checkpoint_id, note_problems, told_of
from agent.cli.output import document, note, say, size, span, unwalked
from agent.cli.progress import Told, display
from agent.cli.times import before
from agent.clock import SystemClock, stamp
from agent.model.checkpoint import Commit
from agent.settings import Settings, load


def arguments(parser: argparse.ArgumentParser) -> None:
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("id", nargs="?", metavar="ID", help="the checkpoint, whatever its state")
    which.add_argument("--latest", action="store_true", help="the newest complete one")
    parser.add_argument("--to", required=True, type=Path, metavar="DIR", help="where the files go; made if missing")
    add_filters(parser)
    parser.add_argument(
        "--instance", metavar="ID", help='with --latest: only what this EC2 instance saved; "self": the one we are on'
    )
    parser.add_argument(
        "--before", metavar="TIME", help='with --latest: older than this ("2026-11-23T09:15:00Z", "2h")'
    )
    parser.add_argument("--any", action="store_true", help="with --latest: the newest, complete or not")
    parser.add_argument("--if-empty", action="store_true", help="do nothing when there is anything in DIR")
    parser.add_argument("--overwrite", action="store_true", help="replace files that differ")
    parser.add_argument("--dry-run", action="store_true", help="only say what would be restored")
    parser.add_argument("--json", action="store_true", help="print the result as a JSON document, no progress")


def run(chosen: argparse.Namespace) -> int:
    settings = load(chosen.config, os.environ)
    if chosen.if_empty and has_files(chosen.to):
        note(f"{chosen.to} is not empty: nothing was restored")
        return Exit.DONE
    at = place(chosen.source, settings)
    began = time.monotonic()
    with display("restoring", quiet=chosen.json) as shown:
        commit, restored, damage = asyncio.run(_restore(chosen, at, settings, Told(shown)))
    told = _result(chosen, commit, restored, seconds=time.monotonic() - began)
    if chosen.json:
        document(told)
    else:
        _say(chosen, commit, told)
    if damage is not None:
        raise damage
    return Exit.DONE if told["outcome"] == "COMPLETE" else Exit.INCOMPLETE


def has_files(target: Path) -> bool:
    """Return whether there is anything in a directory but what a new file system begins with."""
    try:
        return any(each.name != "lost+found" for each in target.iterdir())
    except FileNotFoundError:
        return False


async def _instance(asked: str | None, settings: Settings) -> str | None:
    if asked != "self":
        return asked
    from agent.imds.client import ENDPOINT, Imds
    from agent.imds.identity import identify

    async with Imds(clock=SystemClock(), endpoint=settings.aws.metadata_endpoint or ENDPOINT) as imds:
        return (await identify(imds)).instance_id


async def _restore(
    chosen: argparse.Namespace, at: Place, settings: Settings, told: Told
) -> tuple[Commit, Restored, RestoreDamaged | None]:
    wanted = None if chosen.id is None else checkpoint_id(chosen.id)
    workers = settings.s3.connections + 4
    with ThreadPoolExecutor(workers, thread_name_prefix="restoring") as executor:
        async with opened(at, settings, told.waiting) as store:
            commit = await find(
                store,
                at.prefix,
                wanted,
                cluster=chosen.cluster,
                node=chosen.node,
                instance_id=await _instance(chosen.instance, settings),
                before=None if chosen.before is None else before(chosen.before, SystemClock().now()),
                any_state=chosen.any,
            )
            written = written_for(settings, chosen.to, commit.head)
            restorer = Restorer(
                store,
                at.prefix,
                target=chosen.to,
                executor=executor,
                owner=os.geteuid() == 0,
                overwrite=chosen.overwrite,
                keep=not chosen.if_empty,  # which does nothing when it is run again
                connections=settings.s3.connections,
                report=told.progress,
                written=written,
            )
            try:
                return commit, await restorer.restore(commit, dry_run=chosen.dry_run), None
            except RestoreDamaged as damage:
                return commit, damage.restored, damage
            finally:
                await blocking(executor, adopt, settings, at, written)


def _result(chosen: argparse.Namespace, commit: Commit, restored: Restored, *, seconds: float) -> dict[str, Any]:
    head = commit.head
    is_whole = head.complete and not restored.torn and not restored.problem_count
    return {
        "schema": 1,
        "checkpoint_id": head.checkpoint,
        "outcome": "COMPLETE" if is_whole else "PARTIAL",
        "files": restored.files,
        "bytes": restored.bytes,
        "seconds": round(seconds, 3),
        "directories": restored.directories,
        "symlinks": restored.symlinks,
        "skipped_existing": restored.skipped_existing,
        "not_made": restored.not_made,
        "torn": restored.torn,
        "left_files": head.left.files,
        "left_bytes": head.left.bytes,
        "seen_files": head.left.seen,
        "problem_count": restored.problem_count,
        "problems": [told_of(problem, commit.head) for problem in restored.problems],
        "dry_run": chosen.dry_run,
        "to": str(chosen.to),
        "cluster": head.cluster,
        "node": head.node,
        "created_at": stamp(head.created_at),
        "key": commit.key,
        "digest": commit.digest,
    }


def _say(chosen: argparse.Namespace, commit: Commit, told: dict[str, Any]) -> None:
    done = "would restore" if chosen.dry_run else told["outcome"]
    counts = f"{told['files']:,} files, {size(told['bytes'])}, {span(told['seconds'])}"
    say(f"{told['checkpoint_id']} of {commit.head.node}  {done}  {counts}")
    if told["skipped_existing"]:
        note(f"already there: {told['skipped_existing']:,} files")
    if told["not_made"]:
        note(f"not made (sockets, FIFOs, devices): {told['not_made']:,}")
    if told["left_files"]:
        note(f"never saved: {told['left_files']:,} files, {size(told['left_bytes'])}")
    if told["seen_files"] is not None:
        note(unwalked(told["seen_files"]))
    if told["torn"]:
        note(f"changed while they were saved: {told['torn']:,} files")
    note_problems(told)
