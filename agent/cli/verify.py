"""`hpc-agent verify`: is everything that a checkpoint names in the store, as it was recorded."""

import argparse
import asyncio
import os
import time
from concurrent.futures import ThreadPoolExecutor

from agent.checkpoint.catalog import find
from agent.checkpoint.verify import Verified, verify
from agent.cli.bucket import Place, add_source, opened, place
from agent.cli.exits import Exit
from agent.cli.named import checkpoint_id, note_problems, told_of
from agent.cli.output import document, say, size, span
from agent.cli.progress import Told, display
from agent.model.checkpoint import Commit
from agent.settings import Settings, load


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("id", metavar="ID", help="the checkpoint")
    add_source(parser)
    parser.add_argument("--deep", action="store_true", help="fetch all bytes and check them, too")
    parser.add_argument("--json", action="store_true", help="print the result as a JSON document")


def run(chosen: argparse.Namespace) -> int:
    settings = load(chosen.config, os.environ)
    at = place(chosen.source, settings)
    began = time.monotonic()
    with display("verifying", quiet=chosen.json) as shown:
        commit, verified = asyncio.run(_verify(chosen, at, settings, Told(shown)))
    seconds = time.monotonic() - began
    is_good = verified.problem_count == 0
    told = {
        "schema": 1,
        "checkpoint_id": commit.head.checkpoint,
        "outcome": "GOOD" if is_good else "DAMAGED",
        "complete": commit.head.complete,
        "deep": chosen.deep,
        "files": verified.files,
        "bytes": verified.bytes,
        "seconds": round(seconds, 3),
        "problem_count": verified.problem_count,
        "problems": [told_of(problem, commit.head) for problem in verified.problems],
        "key": commit.key,
        "digest": commit.digest,
    }
    if chosen.json:
        document(told)
    else:
        counts = f"{verified.files:,} files, {size(verified.bytes)}, {span(seconds)}"
        say(f"{commit.head.checkpoint}  {told['outcome']}  {counts}")
        note_problems(told)
    return Exit.DONE if is_good else Exit.MISMATCH


async def _verify(chosen: argparse.Namespace, at: Place, settings: Settings, told: Told) -> tuple[Commit, Verified]:
    wanted = checkpoint_id(chosen.id)
    connections = settings.s3.connections
    with ThreadPoolExecutor(connections + 4, thread_name_prefix="verifying") as executor:
        async with opened(at, settings, told.waiting) as store:
            commit = await find(store, at.prefix, wanted)
            verified = await verify(
                store,
                at.prefix,
                commit,
                executor=executor,
                deep=chosen.deep,
                connections=connections,
                report=told.progress,
            )
    return commit, verified
