"""How EC2 has this instance set up, asked by a child that prints one JSON document.

    python -m agent.aws.vpc --instance-id i-0123 --region eu-west-1 [--service s3]

    {"options": {"hop_limit": 1, "tokens": "required"},
     "endpoints": [{"id": "vpce-1", "type": "Gateway", "routed": true}]}

`options` and `endpoints` are null where the role may not ask; `routed` where it may not ask for the routes. A part
that can't be asked is no error: these questions are for the doctor alone, the agent needs no right to them.
"""

import argparse
import asyncio
import contextlib
import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any, Final

import aioboto3
from aiobotocore.config import AioConfig
from botocore.exceptions import BotoCoreError, ClientError

SECONDS: Final = 8.0

Json = dict[str, Any]


async def surroundings(instance_id: str, region: str, service: str) -> Json:
    """Return the document. Raises ClientError, BotoCoreError and OSError when not even the instance is told."""
    config = AioConfig(connect_timeout=3, read_timeout=5, retries={"total_max_attempts": 1, "mode": "standard"})
    async with aioboto3.Session().client("ec2", region_name=region, config=config) as ec2:
        instance = await _instance(ec2, instance_id)
        options = instance.get("MetadataOptions") or {}
        return {
            "options": {"hop_limit": options.get("HttpPutResponseHopLimit"), "tokens": options.get("HttpTokens")},
            "endpoints": await _endpoints(ec2, instance, f"com.amazonaws.{region}.{service}"),
        }


async def _instance(ec2: Any, instance_id: str) -> Mapping[str, Any]:
    said = await ec2.describe_instances(InstanceIds=[instance_id])
    return dict(said["Reservations"][0]["Instances"][0])


async def _endpoints(ec2: Any, instance: Mapping[str, Any], service: str) -> list[Json] | None:
    vpc = instance.get("VpcId", "")
    wanted = {"vpc-id": vpc, "service-name": service, "vpc-endpoint-state": "available"}
    try:
        said = await ec2.describe_vpc_endpoints(Filters=_filters(wanted))
    except (ClientError, BotoCoreError, OSError):
        return None
    found = said.get("VpcEndpoints", ())
    tables = await _route_tables(ec2, vpc, str(instance.get("SubnetId", ""))) if found else ()
    return [
        {
            "id": str(one["VpcEndpointId"]),
            "type": str(one.get("VpcEndpointType", "Gateway")),
            "routed": None if tables is None else bool(set(tables) & set(one.get("RouteTableIds", ()))),
        }
        for one in found
    ]


async def _route_tables(ec2: Any, vpc: str, subnet: str) -> Sequence[str] | None:
    """Return the tables that rule the subnet: its own, else the VPC's main one; None when we may not ask."""
    for wanted in ({"association.subnet-id": subnet}, {"vpc-id": vpc, "association.main": "true"}):
        try:
            said = await ec2.describe_route_tables(Filters=_filters(wanted))
        except (ClientError, BotoCoreError, OSError):
            return None
        if tables := [str(table["RouteTableId"]) for table in said.get("RouteTables", ())]:
            return tables
    return ()


def _filters(wanted: Mapping[str, str]) -> list[Json]:
    return [{"Name": name, "Values": [value]} for name, value in wanted.items()]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m agent.aws.vpc")
    parser.add_argument("--instance-id", required=True)
    parser.add_argument("--region", required=True)
    parser.add_argument("--service", default="s3")
    options = parser.parse_args()
    document: Json = {"options": None, "endpoints": None}
    with contextlib.suppress(ClientError, BotoCoreError, OSError, LookupError):
        document = asyncio.run(
            asyncio.wait_for(surroundings(options.instance_id, options.region, options.service), SECONDS)
        )
    sys.stdout.write(json.dumps(document) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
