"""What the role may do in the bucket, tried for real on one small object: a child that prints one JSON document.

    python -m agent.aws.probe --bucket B --key P/probe/<writer>/<id> --list P/probe/ [--owner A] [--kms K]

    {"region": "eu-west-1", "steps": {"put": null, "get": null, "multipart": {"error": "...", "sort": "denied"}, ...}}
    {"error": "...", "hint": "...", "sort": "unavailable"}

A step is null when it worked, absent when it was not tried because S3 had stopped answering. Nothing is deleted: the
node has no right to, and a lifecycle rule of the bucket does it. `wrong_owner` tells a bucket that answers only as
long as nobody asks for its owner.
"""

import argparse
import asyncio
import contextlib
import json
import sys
from collections.abc import Awaitable, Callable
from typing import Any, Final

from agent.aws.session import open_store
from agent.checksum import crc64nvme
from agent.errors import AgentError, TransientError
from agent.store.base import ObjectMissing, ObjectStore, StoreDenied

PATIENCE: Final = 3.0
"""Seconds that one request may stand still."""
BODY: Final = b"hpc-agent was here to see whether it may be\n"

Json = dict[str, Any]


async def try_all(store: ObjectStore, key: str, listed: str) -> Json:
    """Return what became of each step."""
    steps: dict[str, Callable[[], Awaitable[None]]] = {
        "put": lambda: _put(store, key),
        "get": lambda: _get(store, key),
        "list": lambda: _list(store, listed),
        "multipart": lambda: _multipart(store, f"{key}-parts"),
    }
    found: Json = {}
    for name, step in steps.items():
        try:
            await step()
        except TransientError as error:
            found[name] = told(error)
            break
        except AgentError as error:
            found[name] = told(error)
        else:
            found[name] = None
    return found


async def _put(store: ObjectStore, key: str) -> None:
    await store.put(key, BODY, crc64nvme=crc64nvme(BODY))


async def _get(store: ObjectStore, key: str) -> None:
    with contextlib.suppress(ObjectMissing):  # the put was refused: to be told so needs the right to read
        await store.get(key)


async def _list(store: ObjectStore, listed: str) -> None:
    async for _ in store.list(listed):
        break


async def _multipart(store: ObjectStore, key: str) -> None:
    upload = await store.begin(key)
    try:
        await store.put_part(key, upload, 1, BODY, crc64nvme=crc64nvme(BODY))
        await store.parts(key, upload)
    finally:
        await store.abort(key, upload)


def told(error: AgentError) -> Json:
    """Return an error for the document."""
    denied = isinstance(error, StoreDenied)
    sort = "denied" if denied else "unavailable" if isinstance(error, TransientError) else "failed"
    return {"error": f"{error.op} {error.subject}: {error.detail}", "hint": error.hint, "sort": sort}


async def probe(options: argparse.Namespace) -> Json:
    """Return the document. Raises what opening a store raises."""
    async with open_store(
        bucket=options.bucket,
        expected_bucket_owner=options.owner,
        kms_key_id=options.kms,
        patience=PATIENCE,
        connections=2,
    ) as store:
        document: Json = {"region": "", "steps": await try_all(store, options.key, options.list)}
        if not any(step and step["sort"] == "unavailable" for step in document["steps"].values()):
            with contextlib.suppress(AgentError):
                document["region"] = await store.region()
    refused = document["steps"].get("list")
    if options.owner and refused and refused["sort"] == "denied":
        document["wrong_owner"] = await _is_listed_without_owner(options)
    return document


async def _is_listed_without_owner(options: argparse.Namespace) -> bool:
    with contextlib.suppress(AgentError):
        async with open_store(bucket=options.bucket, patience=PATIENCE, connections=2) as store:
            await _list(store, options.list)
            return True
    return False


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m agent.aws.probe")
    for name in ("bucket", "key", "list"):
        parser.add_argument(f"--{name}", required=True)
    for name in ("owner", "kms"):
        parser.add_argument(f"--{name}", default="")
    try:
        document = asyncio.run(probe(parser.parse_args()))
    except AgentError as error:
        document = told(error)
    sys.stdout.write(json.dumps(document) + "\n")
    return 1 if "error" in document else 0


if __name__ == "__main__":
    raise SystemExit(main())
