"""The store in a bucket, opened: over our own wire wherever that will do, else with aioboto3.

Credentials come from where every program of AWS looks for them (AWS_* variables, files, the instance profile through
IMDS at AWS_EC2_METADATA_SERVICE_ENDPOINT) and are fetched anew before they end, while the store is open.
"""

import contextlib
import os
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

from agent.aws.wire.opening import open_wire
from agent.aws.wire.store import WireStore

if TYPE_CHECKING:
    from agent.aws.s3 import S3Store

PATIENCE: Final = 20.0
"""Seconds without a byte going out, or without an answer once all are out, after which a request is given up."""
_DIRECTORY: Final = "--x-s3"
_ROUNDABOUT: Final = ("http_proxy", "https_proxy", "all_proxy")
_TWISTS: Final = ("AWS_USE_FIPS_ENDPOINT", "AWS_USE_DUALSTACK_ENDPOINT")
_KEYS: Final = (
    "endpoint_url",
    "use_fips_endpoint",
    "use_dualstack_endpoint",
    "use_accelerate_endpoint",
    "addressing_style",
)


@contextlib.asynccontextmanager
async def open_store(
    *,
    bucket: str,
    region: str = "",
    endpoint_url: str | None = None,
    connections: int = 8,
    expected_bucket_owner: str = "",
    kms_key_id: str = "",
    ca_bundle: str = "",
    patience: float = PATIENCE,
) -> AsyncIterator["WireStore | S3Store"]:
    """Yield the store in `bucket`; its connections are closed at the end.

    An empty `region` is AWS_REGION's, else the instance's. `connections` is how many requests can be under way at once;
    `patience` is how many seconds a request may stand still. Raises StoreUnavailable when no credentials are found,
    which may be temporary.
    """
    if is_ordinary(bucket, os.environ):
        opening = open_wire
    else:
        from agent.aws.library import open_with_library

        opening = open_with_library  # type: ignore[assignment]
    async with opening(
        bucket=bucket,
        region=region,
        endpoint_url=endpoint_url or "",
        connections=connections,
        expected_bucket_owner=expected_bucket_owner,
        kms_key_id=kms_key_id,
        ca_bundle=ca_bundle,
        patience=patience,
    ) as store:
        yield store


def is_ordinary(bucket: str, environ: Mapping[str, str]) -> bool:
    """Return whether our own wire leads to a bucket.

    It does not to directory buckets, which want sessions, to ARNs, through proxies, to FIPS and dual stack endpoints,
    nor to what a profile of the AWS tools says otherwise.
    """
    if bucket.endswith(_DIRECTORY) or bucket.startswith("arn:"):
        return False
    if any(environ.get(name) or environ.get(name.upper()) for name in _ROUNDABOUT):
        return False
    if any(environ.get(name, "").lower() == "true" for name in _TWISTS):
        return False
    config = Path(environ.get("AWS_CONFIG_FILE") or "~/.aws/config").expanduser()
    try:
        said = config.read_text(errors="replace")
    except OSError:
        return True
    return not any(key in said for key in _KEYS)
