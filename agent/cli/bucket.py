"""The bucket that a command works on: from `s3://BUCKET/PREFIX`, else from the settings."""

import argparse
import asyncio
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final, NamedTuple

from agent.chance import SystemChance
from agent.cli.output import note
from agent.errors import SettingsInvalid
from agent.settings import Settings
from agent.store.base import ObjectStore, StoreUnavailable

PATIENCE: Final = 120.0
"""Seconds of trouble without a break after which a command gives up: somebody waits for it."""

_ADDRESS: Final = re.compile(r"s3://(?P<bucket>[^/\s]+)(?:/(?P<prefix>\S*))?")


class Place(NamedTuple):
    bucket: str
    prefix: str

    def __str__(self) -> str:
        return f"s3://{self.bucket}/{self.prefix}"


def add_source(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--from", dest="source", metavar="s3://BUCKET/PREFIX", help="where checkpoints are (default: the settings')"
    )


def add_filters(parser: argparse.ArgumentParser) -> None:
    add_source(parser)
    parser.add_argument("--cluster", metavar="C", help="only those of this cluster")
    parser.add_argument("--node", metavar="N", help="only those of this node")


def place(address: str | None, settings: Settings) -> Place:
    """Return the bucket and prefix that `address` names, else those of the settings. Raises SettingsInvalid."""
    if address is None:
        if not settings.s3.bucket:
            hint = "set s3.bucket, or name one: s3://BUCKET/PREFIX"
            raise SettingsInvalid("find", "the bucket", "none is set", hint=hint)
        return Place(settings.s3.bucket, settings.s3.prefix)
    found = _ADDRESS.fullmatch(address)
    if found is None:
        raise SettingsInvalid("read", f"address {address!r}", "expected s3://BUCKET/PREFIX")
    return Place(found["bucket"], (found["prefix"] or "").strip("/"))


def _say_so(what: str) -> None:
    if what:
        note(f"waiting: {what}")


@asynccontextmanager
async def opened(
    at: Place, settings: Settings, waiting: Callable[[str], None] = _say_so, *, seconds: float = PATIENCE
) -> AsyncIterator[ObjectStore]:
    """Yield the store at `at`, which tries again while there is hope.

    `waiting` hears what it waits for, and "" when it goes on. Raises StoreUnavailable after `seconds` of it.
    """
    from agent.aws.session import open_store
    from agent.store.retrying import Retrying

    trouble = ""
    is_ours = at.bucket == settings.s3.bucket
    try:
        async with (
            asyncio.timeout(None) as patience,
            open_store(
                bucket=at.bucket,
                region=settings.aws.region,
                endpoint_url=settings.aws.s3_endpoint or None,
                connections=settings.s3.most_connections,
                # What the settings say of their bucket says nothing of another one.
                expected_bucket_owner=settings.s3.expected_bucket_owner if is_ours else "",
                kms_key_id=settings.s3.kms_key_id if is_ours else "",
                ca_bundle=settings.aws.ca_bundle,
            ) as store,
        ):

            def troubled(what: str) -> None:
                nonlocal trouble
                if patience.expired():
                    return  # the calls that are given up report that they are over
                trouble = what
                if not what:
                    patience.reschedule(None)
                elif patience.when() is None:
                    patience.reschedule(asyncio.get_running_loop().time() + seconds)
                waiting(what)

            yield Retrying(store, SystemChance(), troubled)
    except TimeoutError as error:
        if not patience.expired():
            raise
        raise StoreUnavailable("reach", str(at), f"no success for {seconds:g} s: {trouble}") from error
