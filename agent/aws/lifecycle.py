"""Auto Scaling told by the instance itself that its lifecycle action goes on, or that it is done: a child process.

    python -m agent.aws.lifecycle heartbeat --instance-id i-0123     {"done": ["hook"], "heartbeat_seconds": 300, ...}
    python -m agent.aws.lifecycle complete --instance-id i-0123      {"error": "...", "hint": "...", "sort": "denied"}

`done` are the hooks that took it; empty while the instance does not wait at one. `sort` is `denied` (a right is
missing), `absent` (no group, or no hook that is ours) or `unavailable` (worth trying again). A child because botocore
costs memory that the control process does not have to give for a few questions.
"""

import argparse
import asyncio
import contextlib
import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import aioboto3
from aiobotocore.config import AioConfig
from botocore.exceptions import ClientError

from agent.aws.errors import answer, store_errors
from agent.errors import AgentError, PermanentError

SECONDS = 10.0
OURS = "hpc-agent"
"""How the name of a hook begins that is meant for us, where a group has several."""
TERMINATING = "autoscaling:EC2_INSTANCE_TERMINATING"
"""Also the transition of a return to the warm pool (EC2 Auto Scaling User Guide, warm pool lifecycle)."""

_HEARTBEAT, _COMPLETE = "heartbeat", "complete"
_SUBJECT = "Auto Scaling"
_DENIED = {"AccessDenied", "AccessDeniedException", "UnauthorizedOperation"}

Json = dict[str, Any]


class Denied(PermanentError):
    """We may not do this."""


class Absent(PermanentError):
    """There is no group, or no hook that is ours to keep."""


async def act(verb: str, instance_id: str, *, seconds: float = SECONDS) -> Json:
    """Send a heartbeat to our hooks, or complete them; return what was done.

    Raises Denied, Absent, and StoreUnavailable when there is no usable answer within `seconds`.
    """
    session = aioboto3.Session()
    region = os.environ.get("AWS_REGION") or session.region_name
    config = AioConfig(connect_timeout=2, read_timeout=5, retries={"total_max_attempts": 2, "mode": "standard"})
    with store_errors("ask", _SUBJECT):
        async with asyncio.timeout(seconds), session.client("autoscaling", region_name=region, config=config) as client:
            return await _act(client, verb, instance_id)


async def _act(client: Any, verb: str, instance_id: str) -> Json:
    member = await _membership(client, instance_id)
    group = member["AutoScalingGroupName"]
    hooks = ours(await _hooks(client, group), group)
    told = [hook["LifecycleHookName"] for hook in hooks if await _tell(client, verb, hook, instance_id)]
    return {
        "done": told,
        "group": group,
        "state": member.get("LifecycleState", ""),
        "heartbeat_seconds": _least(hooks, "HeartbeatTimeout"),
        "global_seconds": _least(hooks, "GlobalTimeout"),
    }


async def _membership(client: Any, instance_id: str) -> Mapping[str, Any]:
    with _denials():
        said = await client.describe_auto_scaling_instances(InstanceIds=[instance_id])
    members: Sequence[Mapping[str, Any]] = said.get("AutoScalingInstances", ())
    if not members:
        raise Absent("find", f"the group of {instance_id}", "it is in no Auto Scaling group")
    return members[0]


async def _hooks(client: Any, group: str) -> Sequence[Mapping[str, Any]]:
    with _denials():
        said = await client.describe_lifecycle_hooks(AutoScalingGroupName=group)
    return [hook for hook in said.get("LifecycleHooks", ()) if hook.get("LifecycleTransition") == TERMINATING]


def ours(hooks: Sequence[Mapping[str, Any]], group: str) -> Sequence[Mapping[str, Any]]:
    """Return the hooks that are ours to keep: those named for us, else the only one there is. Raises Absent.

    Somebody else's hook holds the instance for somebody else's work, which completing it would cut short.
    """
    named = [hook for hook in hooks if str(hook.get("LifecycleHookName", "")).startswith(OURS)]
    if named or len(hooks) == 1:
        return named or hooks
    if hooks:
        hint = f"begin the name of the one that is for the agent with {OURS}"
        raise Absent("find", f"our hook of {group}", f"it has {len(hooks)}", hint=hint)
    hint = f"a lifecycle hook for {TERMINATING} gives the node time to save its work"
    raise Absent("find", f"a hook of {group}", "it has none for terminating instances", hint=hint)


async def _tell(client: Any, verb: str, hook: Mapping[str, Any], instance_id: str) -> bool:
    """Return whether the hook took it: one that the instance does not wait at is a ValidationError."""
    place = {
        "LifecycleHookName": hook["LifecycleHookName"],
        "AutoScalingGroupName": hook["AutoScalingGroupName"],
        "InstanceId": instance_id,
    }
    try:
        with _denials():
            if verb == _COMPLETE:
                await client.complete_lifecycle_action(**place, LifecycleActionResult="CONTINUE")
            else:
                await client.record_lifecycle_action_heartbeat(**place)
    except ClientError as error:
        if answer(error).code != "ValidationError":
            raise
        return False
    return True


@contextlib.contextmanager
def _denials() -> Iterator[None]:
    """Turn a refusal into Denied with the name of the right that is missing."""
    try:
        yield
    except ClientError as error:
        said = answer(error)
        if said.code not in _DENIED:
            raise  # credentials that have just expired are a 403 as well, and the next call has others
        hint = f"allow autoscaling:{said.operation} in the node's role"
        raise Denied("ask", _SUBJECT, said.detail, hint=hint) from error


def _least(hooks: Sequence[Mapping[str, Any]], key: str) -> int | None:
    return min((int(hook[key]) for hook in hooks if hook.get(key)), default=None)


def _sort(error: AgentError) -> str:
    match error:
        case Denied():
            return "denied"
        case Absent():
            return "absent"
    return "unavailable"


def main() -> int:
    options = argparse.ArgumentParser(prog="python -m agent.aws.lifecycle")
    options.add_argument("verb", choices=(_HEARTBEAT, _COMPLETE))
    options.add_argument("--instance-id", required=True)
    options.add_argument("--seconds", type=float, default=SECONDS)
    asked = options.parse_args()
    try:
        document = asyncio.run(act(asked.verb, asked.instance_id, seconds=asked.seconds))
    except AgentError as error:
        said = f"{error.op} {error.subject}: {error.detail}"
        document = {"error": said, "hint": error.hint, "sort": _sort(error)}
    sys.stdout.write(json.dumps(document) + "\n")
    return 1 if "error" in document else 0


if __name__ == "__main__":
    raise SystemExit(main())
