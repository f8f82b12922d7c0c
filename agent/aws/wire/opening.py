"""The store on our own wire, opened: where it is, who asks, whom to trust."""

import asyncio
import contextlib
import importlib.util
import os
import ssl
from collections.abc import AsyncIterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from agent.aws.answers import TRUST
from agent.aws.region import DEFAULT, region_of_zone
from agent.aws.wire.client import Client
from agent.aws.wire.credentials import Library, find, has_files
from agent.aws.wire.endpoint import endpoint_of
from agent.aws.wire.line import Line
from agent.aws.wire.metadata import Metadata
from agent.aws.wire.store import WireStore
from agent.store.base import StoreUnavailable

_ZONE = "meta-data/placement/availability-zone"


@contextlib.asynccontextmanager
async def open_wire(
    *,
    bucket: str,
    region: str,
    endpoint_url: str,
    connections: int,
    expected_bucket_owner: str,
    kms_key_id: str,
    ca_bundle: str,
    patience: float,
) -> AsyncIterator[WireStore]:
    """See agent.aws.session.open_store."""
    threads = ThreadPoolExecutor(connections, thread_name_prefix="s3")
    try:
        running = asyncio.get_running_loop().run_in_executor
        client, line = await running(threads, _prepared, bucket, region, endpoint_url, ca_bundle, patience)
        with contextlib.closing(line):
            yield WireStore(client, threads, bucket, expected_bucket_owner=expected_bucket_owner, kms_key_id=kms_key_id)
    finally:
        threads.shutdown(wait=False, cancel_futures=True)


def _prepared(bucket: str, region: str, endpoint_url: str, ca_bundle: str, patience: float) -> tuple[Client, Line]:
    environ = os.environ
    metadata = Metadata(environ.get("AWS_EC2_METADATA_SERVICE_ENDPOINT", ""))
    credentials = find(environ, metadata)
    try:
        credentials.keys()
    except StoreUnavailable as error:
        raise StoreUnavailable("open", f"s3://{bucket}", f"no credentials: {error.detail}", hint=error.hint) from error
    region = region or find_region(environ, metadata)
    url = endpoint_url or environ.get("AWS_ENDPOINT_URL_S3") or environ.get("AWS_ENDPOINT_URL") or ""
    endpoint = endpoint_of(bucket, region, url)
    context = trusting(ca_bundle or environ.get("AWS_CA_BUNDLE", "")) if endpoint.is_secure else None
    line = Line(endpoint, context, patience)
    return Client(line, endpoint, region, credentials), line


def find_region(environ: Mapping[str, str], metadata: Metadata) -> str:
    """Return the region of the environment, else of a profile, else where this instance is, else DEFAULT."""
    known = environ.get("AWS_REGION") or environ.get("AWS_DEFAULT_REGION")
    if not known and has_files(environ):
        known = Library.region()
    if known or environ.get("AWS_EC2_METADATA_DISABLED", "").lower() == "true":
        return known or DEFAULT
    try:
        return region_of_zone(metadata.get(_ZONE)) or DEFAULT
    except StoreUnavailable:
        return DEFAULT


def trusting(bundle: str) -> ssl.SSLContext:
    """Return a context that trusts the authorities in `bundle`, else the system's, else those that botocore brings.

    Raises StoreUnavailable when `bundle` can't be read.
    """
    try:
        return ssl.create_default_context(cafile=bundle or _authorities())
    except OSError as error:
        raise StoreUnavailable("read", bundle, error.strerror or str(error), hint=TRUST) from error


def _authorities() -> str | None:
    paths = ssl.get_default_verify_paths()
    if paths.cafile or paths.capath:
        return None
    library = importlib.util.find_spec("botocore")
    return str(Path(library.origin).with_name("cacert.pem")) if library and library.origin else None
