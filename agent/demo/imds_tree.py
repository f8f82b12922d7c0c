"""The metadata of a made-up instance: paths below /latest/ and what stands there. Pure."""

import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Final

from agent.value import value

Leaf = str | Callable[[], str]

INSTANCE_ACTION: Final = "meta-data/spot/instance-action"
TERMINATION_TIME: Final = "meta-data/spot/termination-time"
CREDENTIALS: Final = "meta-data/iam/security-credentials"


@value
class Machine:
    """What the instance says of itself."""

    instance_id: str = "i-0123456789abcdef0"
    instance_type: str = "c7gd.large"
    life_cycle: str = "spot"
    region: str = "us-west-2"
    zone_letter: str = "b"
    account: str = "111122223333"

    @property
    def zone(self) -> str:
        return self.region + self.zone_letter


def metadata(machine: Machine) -> dict[str, Leaf]:
    """Return what the instance shows when nothing threatens it."""
    document = {
        "accountId": machine.account,
        "architecture": "x86_64",
        "availabilityZone": machine.zone,
        "billingProducts": None,
        "imageId": "ami-0123456789abcdef0",
        "instanceId": machine.instance_id,
        "instanceType": machine.instance_type,
        "kernelId": None,
        "pendingTime": "2026-01-01T00:00:00Z",
        "privateIp": "10.0.0.5",
        "region": machine.region,
        "version": "2017-09-30",
    }
    return {
        "dynamic/instance-identity/document": json.dumps(document, indent=2),
        "meta-data/ami-id": "ami-0123456789abcdef0",
        "meta-data/hostname": f"ip-10-0-0-5.{machine.region}.compute.internal",
        "meta-data/instance-id": machine.instance_id,
        "meta-data/instance-life-cycle": machine.life_cycle,
        "meta-data/instance-type": machine.instance_type,
        "meta-data/local-ipv4": "10.0.0.5",
        "meta-data/placement/availability-zone": machine.zone,
        "meta-data/placement/region": machine.region,
        "meta-data/services/domain": "amazonaws.com",
        "meta-data/services/partition": "aws",
    }


def lookup(tree: Mapping[str, Leaf], path: str) -> str | None:
    """Return the value at `path`, or the names below it one per line, or None. A slash at the end changes nothing."""
    path = path.strip("/")
    leaf = tree.get(path)
    if leaf is not None:
        return leaf() if callable(leaf) else leaf
    below = f"{path}/" if path else ""
    names = {head + slash for head, slash, _ in (p[len(below) :].partition("/") for p in tree if p.startswith(below))}
    return "\n".join(sorted(names)) if names else None


def seconds_text(when: datetime) -> str:
    """Write a time as IMDS does: UTC, whole seconds, `2026-11-23T09:15:00Z`."""
    return when.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def action_text(action: str, at: datetime) -> str:
    """Write the body of `spot/instance-action`."""
    return json.dumps({"action": action, "time": seconds_text(at)})


def credentials_text(access_key: str, secret: str, token: str, *, now: datetime, seconds: float) -> str:
    """Write the credentials of an instance role that end `seconds` from now."""
    return json.dumps(
        {
            "Code": "Success",
            "LastUpdated": seconds_text(now),
            "Type": "AWS-HMAC",
            "AccessKeyId": access_key,
            "SecretAccessKey": secret,
            "Token": token,
            "Expiration": seconds_text(now + timedelta(seconds=seconds)),
        }
    )
