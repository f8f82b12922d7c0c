"""Which Capacity Reservation holds this instance, asked of EC2 by a child process that prints one JSON document.

    python -m agent.aws.reservation --instance-id i-0123 [--reservation cr-0123] [--region eu-west-1]

    {"reservation": {"id": "cr-0123", "type": "capacity-block", "state": "active", ...}}      exit 0
    {"none": true}                                                                             exit 0
    {"error": "...", "hint": "...", "sort": "denied"}                                          exit 1

`sort` is "denied", "throttled" or "unavailable". A child because botocore with EC2 costs memory that the control
process does not have to give. A reservation that is known already costs one request, one that is not costs two; nothing
is tried twice: EC2's request limit is shared with whatever runs the cluster, and the caller knows when to ask again.
"""

import argparse
import asyncio
import contextlib
import json
import os
import sys
from collections.abc import Iterator, Mapping
from enum import StrEnum
from typing import Any, Final

import aioboto3
from aiobotocore.config import AioConfig
from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError
from botocore.parsers import ResponseParserError

from agent.aws.answers import Answer
from agent.aws.errors import answer
from agent.clock import stamp
from agent.errors import AgentError, TransientError

SECONDS: Final = 10.0
_DEFAULT_REGION: Final = "us-east-1"
_APART: Final = 1.0
"""Seconds between two requests of one node: a fleet that starts together must not make them all in one second."""

_THROTTLED: Final = frozenset({"RequestLimitExceeded", "Throttling", "ThrottlingException", "RequestThrottled"})
_DENIED: Final = frozenset({"UnauthorizedOperation", "AccessDenied", "AccessDeniedException", "OptInRequired"})
"""EC2 API reference, "Error codes": a missing permission is UnauthorizedOperation, HTTP 403."""
_CREDENTIALS: Final = frozenset({"AuthFailure", "InvalidClientTokenId", "SignatureDoesNotMatch"})
_GONE: Final = "InvalidCapacityReservationId.NotFound"

STATEMENT: Final = (
    'allow the instance\'s role {"Effect": "Allow", "Action": ["ec2:DescribeInstances", '
    '"ec2:DescribeCapacityReservations"], "Resource": "*"}, or set capacity_block.end'
)
_ROUTE: Final = "is there a route or a VPC endpoint to EC2? else set capacity_block.end"
_PROFILE: Final = "attach an instance profile, or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
_KEYS: Final = "the credentials are not valid for this endpoint: see the instance profile, or AWS_* variables"
_WAIT: Final = "the request limit of the account is shared with all that asks EC2; asked again in some minutes"


class Sort(StrEnum):
    """What can be done about an error: give the permission, ask less, or wait."""

    DENIED = "denied"
    THROTTLED = "throttled"
    UNAVAILABLE = "unavailable"


class ReservationUnknown(TransientError):
    """EC2 gave no usable answer."""

    def __init__(self, op: str, detail: str, *, hint: str = "", sort: Sort = Sort.UNAVAILABLE) -> None:
        super().__init__(op, "EC2", detail, hint=hint)
        self.sort = sort


class _Gone(ReservationUnknown):
    """There is no such reservation."""


async def find_reservation(
    instance_id: str,
    *,
    reservation_id: str = "",
    region: str = "",
    timeout: float = SECONDS,  # noqa: ASYNC109 - the bound of the whole question
) -> dict[str, str] | None:
    """Return the reservation that holds the instance, None when none does.

    `region` is where the instance is, by IMDS: it goes before AWS_REGION, which may be the bucket's. Raises
    ReservationUnknown after `timeout` seconds or with what EC2 said.
    """
    session = aioboto3.Session()
    where = region or os.environ.get("AWS_REGION") or session.region_name or _DEFAULT_REGION
    config = AioConfig(connect_timeout=3, read_timeout=timeout, retries={"total_max_attempts": 1, "mode": "standard"})
    with ec2_errors("ask"):
        async with asyncio.timeout(timeout), session.client("ec2", region_name=where, config=config) as ec2:
            if reservation_id:
                with contextlib.suppress(_Gone):
                    return await _reservation(ec2, reservation_id)
            instance = await _instance(ec2, instance_id)
            found = str(instance.get("CapacityReservationId") or "")
            if not found:
                return None
            await asyncio.sleep(_APART)
            return await _reservation(ec2, found)


async def _instance(ec2: Any, instance_id: str) -> Mapping[str, Any]:
    with ec2_errors("describe the instance to"):
        said = await ec2.describe_instances(InstanceIds=[instance_id])
    for reservation in said.get("Reservations", ()):
        for instance in reservation.get("Instances", ()):
            if instance.get("InstanceId") == instance_id:
                return dict(instance)
    raise ReservationUnknown("describe the instance to", f"it does not know {instance_id}")


async def _reservation(ec2: Any, reservation_id: str) -> dict[str, str]:
    with ec2_errors("describe the reservation to"):
        said = await ec2.describe_capacity_reservations(CapacityReservationIds=[reservation_id])
    for found in said.get("CapacityReservations", ()):
        if found.get("CapacityReservationId") == reservation_id:
            return _document(found)
    raise _Gone("describe the reservation to", f"it does not know {reservation_id}")


def _document(found: Mapping[str, Any]) -> dict[str, str]:
    return {
        "id": str(found["CapacityReservationId"]),
        "type": str(found.get("ReservationType") or "default"),
        "state": str(found.get("State") or ""),
        "end": stamp(found["EndDate"]) if found.get("EndDate") else "",
        "end_type": str(found.get("EndDateType") or ""),
        "instance_type": str(found.get("InstanceType") or ""),
    }


@contextlib.contextmanager
def ec2_errors(op: str) -> Iterator[None]:
    """Raise ReservationUnknown, with `op` in it, in place of the libraries' own errors."""
    try:
        yield
    except ClientError as error:
        raise _judge(answer(error), op) from error
    except NoCredentialsError as error:
        raise ReservationUnknown(op, "no credentials were found", hint=_PROFILE) from error
    except (BotoCoreError, ResponseParserError, OSError, ValueError) as error:
        # TimeoutError is an OSError; what aiohttp raises on the way comes as a BotoCoreError; a ValueError is what
        # botocore says of a date that is none.
        raise ReservationUnknown(op, str(error) or type(error).__name__, hint=_ROUTE) from error


def _judge(said: Answer, op: str) -> ReservationUnknown:
    if said.code in _THROTTLED:
        return ReservationUnknown(op, said.detail, hint=_WAIT, sort=Sort.THROTTLED)
    if said.code in _DENIED:
        return ReservationUnknown(op, said.detail, hint=STATEMENT, sort=Sort.DENIED)
    if said.code in _CREDENTIALS:
        return ReservationUnknown(op, said.detail, hint=_KEYS, sort=Sort.DENIED)
    return _Gone(op, said.detail) if said.code == _GONE else ReservationUnknown(op, said.detail)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m agent.aws.reservation")
    parser.add_argument("--instance-id", required=True)
    parser.add_argument("--reservation", default="")
    parser.add_argument("--region", default="")
    parser.add_argument("--seconds", type=float, default=SECONDS)
    options = parser.parse_args()
    document: dict[str, Any]
    try:
        found = asyncio.run(
            find_reservation(
                options.instance_id,
                reservation_id=options.reservation,
                region=options.region,
                timeout=options.seconds,
            )
        )
        document = {"none": True} if found is None else {"reservation": found}
    except ReservationUnknown as error:
        document = {"error": _said(error), "hint": error.hint, "sort": error.sort}
    sys.stdout.write(json.dumps(document) + "\n")
    return 1 if "error" in document else 0


def _said(error: AgentError) -> str:
    return f"{error.op} {error.subject}: {error.detail}"


if __name__ == "__main__":
    raise SystemExit(main())
