"""What each kind of notice calls for, and how long before its end; the operator's `[policy]` overrules DEFAULTS."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Final

from agent.model.notice import Notice, NoticeKind
from agent.value import value

MINUTE: Final = 60.0


class Action(StrEnum):
    """How far a notice goes."""

    IGNORE = "ignore"
    """It is shown."""
    LEAD_COPY = "lead-copy"
    """The scratch is saved ahead, the node goes on working."""
    DRAIN = "drain"
    """No new work; the disk survives what is coming, so nothing has to be saved."""
    EVACUATE = "evacuate"
    """Drain, save, release."""


@value
class Rule:
    """`lead` is how many seconds before its end a notice is acted on; None is as soon as it is seen."""

    action: Action
    lead: float | None = None


Policy = Mapping[str, Rule]
"""By notice kind, or by `<kind>/<code>` for one code of a scheduled event."""

K = NoticeKind
DEFAULTS: Final[Policy] = {
    # Two minutes at best, and all three erase the instance store (EC2 User Guide, instance store lifetime).
    K.SPOT_TERMINATE: Rule(action=Action.EVACUATE),
    K.SPOT_STOP: Rule(action=Action.EVACUATE),
    K.SPOT_HIBERNATE: Rule(action=Action.EVACUATE),
    # The end is known for days and may move as late as 35 minutes before EndDate: not earlier than needed.
    K.CAPACITY_BLOCK_END: Rule(action=Action.EVACUATE, lead=10 * MINUTE),
    # Two minutes, like Spot.
    K.INTERRUPTIBLE_RESERVATION: Rule(action=Action.EVACUATE),
    # The instance has left its group: the hook's time is all there is.
    K.ASG_TERMINATE: Rule(action=Action.EVACUATE),
    # The instance lives on and its disk does not.
    K.WARM_POOL_RETURN: Rule(action=Action.EVACUATE),
    # Announced days ahead: a node that drains now would stand idle for nothing.
    K.SCHEDULED_EVENT: Rule(action=Action.EVACUATE, lead=15 * MINUTE),
    # A reboot keeps the instance store: what is on it needs no saving, but no job should start before it.
    f"{K.SCHEDULED_EVENT}/system-reboot": Rule(action=Action.DRAIN, lead=15 * MINUTE),
    f"{K.SCHEDULED_EVENT}/instance-reboot": Rule(action=Action.DRAIN, lead=15 * MINUTE),
    # The host's network or power is touched for a moment; the disk stays.
    f"{K.SCHEDULED_EVENT}/system-maintenance": Rule(action=Action.DRAIN, lead=15 * MINUTE),
    # Most recommended instances are never interrupted: draining would lose more work than it saves.
    K.REBALANCE: Rule(action=Action.LEAD_COPY),
    # Whoever shuts the machine down has decided; what is still running gets what the stop time allows.
    K.SHUTDOWN: Rule(action=Action.EVACUATE),
    # A person, or their automation, said so.
    K.OPERATOR: Rule(action=Action.EVACUATE),
}


def rule(policy: Policy, notice: Notice) -> Rule:
    """Return the rule for a notice: its code's, its kind's, or the default."""
    specific, general = f"{notice.kind}/{notice.code}", str(notice.kind)
    # An operator's word for the kind overrules a default for the code.
    return policy.get(specific) or policy.get(general) or DEFAULTS.get(specific) or DEFAULTS[general]


def acts_at(policy: Policy, notice: Notice, *, estimate: float = 0.0) -> float:
    """Return the monotonic time from which a notice is acted on.

    `estimate` is how many seconds an evacuation of this node would take now: a lead is never shorter than half as much
    again. It grows by doubling, so that the nodes of a Capacity Block, which share their end and differ in what they
    hold, still drain together.
    """
    lead = rule(policy, notice).lead
    if lead is None:
        return float("-inf")
    while lead and lead < 1.5 * estimate:
        lead *= 2
    return notice.due - max(lead, 1.5 * estimate)
