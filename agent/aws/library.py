"""The S3 store opened with aioboto3, for the buckets that our own wire does not lead to."""

import contextlib
import os
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime
from functools import partial
from typing import Any

import aioboto3
from aiobotocore.config import AioConfig
from botocore.credentials import RefreshableCredentials

from agent.aws.answers import EXPIRED
from agent.aws.errors import store_errors
from agent.aws.region import find_region
from agent.aws.s3 import S3Store
from agent.store.base import StoreUnavailable

_CONNECT = 3.0
_NO_CREDENTIALS = "attach an instance profile, or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY; is IMDS reachable?"


@contextlib.asynccontextmanager
async def open_with_library(
    *,
    bucket: str,
    region: str,
    endpoint_url: str,
    connections: int,
    expected_bucket_owner: str,
    kms_key_id: str,
    ca_bundle: str,
    patience: float,
) -> AsyncIterator[S3Store]:
    """See agent.aws.session.open_store. A client keeps the credentials it was made with."""
    session = aioboto3.Session()
    credentials = await _require_credentials(session, bucket)
    async with contextlib.AsyncExitStack() as open_clients:
        with store_errors("open", f"s3://{bucket}"):
            config = _config(connections, patience, has_own_endpoint=bool(endpoint_url or _endpoint_of_environment()))
            client = await open_clients.enter_async_context(
                session.client(
                    "s3",
                    region_name=await find_region(session, region),
                    endpoint_url=endpoint_url or None,
                    verify=ca_bundle or None,
                    config=config,
                )
            )
        client.meta.events.register("after-call.s3", partial(_renew_if_refused, credentials))
        yield S3Store(
            client, bucket, expected_bucket_owner=expected_bucket_owner, kms_key_id=kms_key_id, patience=patience
        )


async def _require_credentials(session: aioboto3.Session, bucket: str) -> Any:
    with store_errors("open", f"s3://{bucket}"):
        found = await session.get_credentials()
    if found is None:
        raise StoreUnavailable("open", f"s3://{bucket}", "no credentials were found", hint=_NO_CREDENTIALS)
    return found


def _renew_if_refused(credentials: Any, parsed: Mapping[str, Any], **_: object) -> None:
    """Have the next request fetch credentials anew when S3 says that these have expired.

    botocore does it only by the time that came with them, and that is wrong when the clock is, or when IMDS was late.
    """
    if parsed.get("Error", {}).get("Code") in EXPIRED and isinstance(credentials, RefreshableCredentials):
        credentials._expiry_time = datetime.now(UTC)  # noqa: SLF001 - there is no other way


def _endpoint_of_environment() -> str:
    return os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or ""


def _config(connections: int, patience: float, *, has_own_endpoint: bool) -> AioConfig:
    return AioConfig(
        connect_timeout=_CONNECT,
        read_timeout=patience,
        max_pool_connections=connections,
        # Retries are agent/store/retrying.py's, which knows the deadline.
        retries={"total_max_attempts": 1, "mode": "standard"},
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        s3={
            "payload_signing_enabled": False,
            # A private endpoint rarely has a host name per bucket.
            "addressing_style": "path" if has_own_endpoint else "auto",
        },
    )
