"""What EC2 and Auto Scaling let the role see: Capacity Blocks, lifecycle hooks, the way to S3, the hop limit."""

from collections.abc import Mapping
from typing import Any, Final

from agent.doctor import statement
from agent.doctor.child import UNASKED, ask
from agent.doctor.finding import Finding, green, red, unknown, yellow
from agent.errors import AgentError
from agent.imds import documents
from agent.imds.metadata import Metadata
from agent.model.node import Identity
from agent.processes import Processes
from agent.settings import Settings

RIGHTS, HOOK, ENDPOINT, HOPS = "ec2 rights", "autoscaling", "s3 endpoint", "hop limit"

SECONDS: Final = 8.0
"""Seconds that a child may ask for; `STARTING` more to start and to say so."""
STARTING: Final = 1.5
NO_RESERVATION: Final = "cr-00000000000000000"
"""Well formed and nobody's. Asked for first, it makes the one child try both rights, in a block or not."""
IN_BLOCK: Final = "capacity-block"

Document = Mapping[str, Any]


async def look_at_rights(settings: Settings, processes: Processes, identity: Identity | None) -> Finding:
    """Whether EC2 tells when a Capacity Block ends."""
    block = settings.capacity_block
    if not block.ask:
        return green(RIGHTS, "not asked for: capacity_block.ask is false")
    if identity is None:
        return unknown(RIGHTS, "which instance this is, is not known")
    if identity.is_spot:
        return green(RIGHTS, "not needed: a Spot instance is in no Capacity Block")
    arguments = ["--instance-id", identity.instance_id, "--reservation", NO_RESERVATION, "--seconds", f"{SECONDS:g}"]
    if identity.region:
        arguments += ["--region", identity.region]
    said = await ask(processes, "reservation", arguments, seconds=SECONDS + STARTING)
    return _rights(said, needed=identity.life_cycle == IN_BLOCK and not block.end)


def _rights(said: Document, *, needed: bool) -> Finding:
    if found := said.get("reservation"):
        ends = f", ends {found['end']}" if found.get("end") else ""
        return green(RIGHTS, f"EC2 tells: {found['type']} reservation {found['id']}{ends}")
    if said.get("none"):
        return green(RIGHTS, "EC2 tells: this instance is in no Capacity Reservation")
    detail, hint = str(said.get("error", "no answer")), str(said.get("hint", ""))
    if said.get("sort") in {"throttled", UNASKED}:
        return unknown(RIGHTS, detail, hint)
    without = (
        "the end of its Capacity Block would not be seen" if needed else "a Capacity Block's end would not be seen"
    )
    return (red if needed else yellow)(RIGHTS, f"{detail}: {without}", hint)


async def look_at_hook(imds: Metadata, processes: Processes, identity: Identity | None) -> Finding:
    """Whether the agent could keep a lifecycle hook open. Completing one can't be tried without doing it."""
    if identity is None:
        return unknown(HOOK, "which instance this is, is not known")
    try:
        target = await imds.read(documents.TARGET_STATE, documents.target_state)
    except AgentError as error:
        return unknown(HOOK, error.detail, error.hint)
    if target is None:
        return green(HOOK, "not needed: this instance is in no Auto Scaling group")
    # A heartbeat is refused as invalid while the instance does not wait at a hook, and harmless while it does.
    env = {"AWS_REGION": identity.region} if identity.region else {}
    arguments = ["heartbeat", "--instance-id", identity.instance_id, "--seconds", f"{SECONDS:g}"]
    return _hook(await ask(processes, "lifecycle", arguments, seconds=SECONDS + STARTING, env=env))


def _hook(said: Document) -> Finding:
    if "error" not in said:
        return green(HOOK, f"group {said['group']} takes heartbeats; completing the hook can't be tried")
    detail, hint = str(said["error"]), str(said.get("hint", ""))
    if said.get("sort") in {"unavailable", UNASKED}:
        return unknown(HOOK, detail, hint)
    if said.get("sort") == "denied":
        rights = ("DescribeAutoScalingInstances", "DescribeLifecycleHooks", "RecordLifecycleActionHeartbeat")
        hint = statement.to_ask(*(f"autoscaling:{right}" for right in (*rights, "CompleteLifecycleAction")))
        return yellow(HOOK, f"{detail}: only asg.hook_window counts", hint)
    return yellow(HOOK, detail, hint)


async def look_at_vpc(settings: Settings, processes: Processes, identity: Identity | None) -> list[Finding]:
    """The way to S3, and the hop limit of IMDS, where the role may ask."""
    if identity is None:
        return [unknown(name, "which instance this is, is not known") for name in (ENDPOINT, HOPS)]
    service = "s3express" if settings.s3.bucket.endswith("--x-s3") else "s3"
    arguments = ["--instance-id", identity.instance_id, "--region", identity.region, "--service", service]
    said = await ask(processes, "vpc", arguments, seconds=SECONDS + STARTING)
    own = settings.aws.s3_endpoint
    way = green(ENDPOINT, "another one is set: AWS_ENDPOINT_URL_S3") if own else _way(said.get("endpoints"))
    return [way, _hops(said.get("options"))]


def _way(endpoints: list[Document] | None) -> Finding:
    if endpoints is None:
        return unknown(
            ENDPOINT, "EC2 does not tell whether there is a VPC endpoint", _to_see("ec2:DescribeVpcEndpoints")
        )
    used = [one for one in endpoints if one["type"] != "Gateway" or one["routed"]]
    if used:
        return green(ENDPOINT, f"{used[0]['type']} endpoint {used[0]['id']}")
    if any(one["routed"] is None for one in endpoints):
        said = f"gateway endpoint {endpoints[0]['id']}; whether this subnet's routes use it is not known"
        return unknown(ENDPOINT, said, _to_see("ec2:DescribeRouteTables"))
    hint = "a gateway endpoint costs nothing; NAT and internet gateways cost money and are limited in bandwidth"
    if endpoints:
        return yellow(ENDPOINT, f"{endpoints[0]['id']} is not in the routes of this subnet", hint)
    return yellow(ENDPOINT, "no VPC endpoint for S3 in this VPC", hint)


def _hops(options: Document | None) -> Finding:
    if not options or options.get("hop_limit") is None:
        said = "far enough for this process; EC2 does not tell how far"
        return unknown(HOPS, said, _to_see("ec2:DescribeInstances"))
    return green(HOPS, f"{options['hop_limit']}, far enough for this process; HttpTokens={options['tokens']}")


def _to_see(*actions: str) -> str:
    return f"only to see it here: {statement.to_ask(*actions)}"
