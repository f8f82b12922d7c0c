"""What a Capacity Block means for this node: when EC2 takes it. Pure.

EC2 User Guide, "How Capacity Blocks work": the instances can be used until 30 minutes (instance types) or 60 minutes
(UltraServer types) before the end time, then EC2 begins to terminate them. EndDate itself is never the deadline.
"""

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, Final

from agent.clock import parse_stamp
from agent.errors import TransientError
from agent.model.node import InstanceId
from agent.model.notice import NoticeKind
from agent.notices.schedule import share_of
from agent.notices.source import Sighting
from agent.value import value

SOURCE: Final = "capacity-block"
CONFIGURED: Final = "configured"
"""What stands for the reservation when only the setting tells of the block."""

TAKEN_BEFORE: Final = timedelta(minutes=30)
TAKEN_BEFORE_ULTRASERVER: Final = timedelta(minutes=60)
ULTRASERVERS: Final = ("p6e-gb200", "u-p6e", "trn2u")
"""How UltraServer instance types begin: p6e-gb200.36xlarge, u-p6e-gb200x72, trn2u.48xlarge (EC2 User Guide, "Amazon EC2
UltraServers"). A type that is not known as one and is one would be left half an hour late: keep this up to date."""

SPREAD: Final = timedelta(seconds=15)
"""All nodes of a block go at one instant: each takes its end to be up to this much earlier, so that their drains do not
reach slurmctld in the same second."""

NOT_THERE: Final = frozenset({"cancelled", "failed", "payment-failed"})
"""States of a reservation that takes nothing from anybody (any more). Every other one counts, unknown ones too."""
PENDING: Final = "payment-pending"


class BlockUnknown(TransientError):
    """Whether this node is in a Capacity Block, or until when, could not be found out."""

    def __init__(self, detail: str, *, hint: str = "", sort: str = "unavailable") -> None:
        super().__init__("ask", "EC2 for the Capacity Block", detail, hint=hint)
        self.sort = sort


@value
class Block:
    """A Capacity Block: its reservation ends at `ends_at`, and EC2 begins to take its instances at `taken_at`."""

    reservation: str
    ends_at: datetime
    taken_at: datetime
    state: str = ""


def read_answer(out: str, *, instance_type: str) -> Block | None:
    """Return what `agent.aws.reservation` printed: the block, or None for no block. Raises BlockUnknown."""
    try:
        document = json.loads(out)
        if document.get("none") is True:
            return None
        if "reservation" in document:
            return _block(document["reservation"], instance_type)
        raise BlockUnknown(str(document["error"]), hint=str(document["hint"]), sort=str(document["sort"]))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BlockUnknown(f"no usable answer: {out.strip()[:80]!r}") from error


def configured(end: str, *, instance_type: str) -> Block | None:
    """Return the block of the setting `capacity_block.end`, None when it is empty."""
    return make_block(CONFIGURED, parse_stamp(end), instance_type=instance_type) if end else None


def make_block(reservation: str, ends_at: datetime, *, instance_type: str, state: str = "") -> Block:
    """Return the block whose reservation ends at `ends_at` (EndDate)."""
    before = TAKEN_BEFORE_ULTRASERVER if instance_type.startswith(ULTRASERVERS) else TAKEN_BEFORE
    return Block(reservation=reservation, ends_at=ends_at, taken_at=ends_at - before, state=state)


def sighting_of(block: Block, instance_id: InstanceId) -> Sighting:
    """Return the notice that a block is for one of its instances."""
    return Sighting(
        id=f"{SOURCE}:{block.reservation}",
        kind=NoticeKind.CAPACITY_BLOCK_END,
        ends_at=block.taken_at - share(instance_id),
        source=SOURCE,
    )


def share(instance_id: InstanceId) -> timedelta:
    """Return how much earlier than the others this instance ends, the same at every look: whole milliseconds, as in
    the journal, below SPREAD.
    """
    return timedelta(milliseconds=int(share_of(instance_id) * (SPREAD // timedelta(milliseconds=1))))


def unpaid(block: Block | None, before: Sighting | None, instance_id: InstanceId) -> Block | None:
    """Return `block` with the end that it had, while a later one is not paid for yet."""
    if block is None or before is None or block.state != PENDING:
        return block
    now = sighting_of(block, instance_id)
    later = now.ends_at - before.ends_at
    if now.id != before.id or later <= timedelta(0):
        return block
    return replace(block, ends_at=block.ends_at - later, taken_at=block.taken_at - later)


def _block(found: Mapping[str, Any], instance_type: str) -> Block | None:
    """A reservation of another type goes without taking its instances along; one without an end does not go."""
    if found["type"] != "capacity-block" or found["state"] in NOT_THERE or not found["end"]:
        return None
    return make_block(
        str(found["id"]),
        parse_stamp(found["end"]),
        instance_type=str(found.get("instance_type") or instance_type),
        state=str(found["state"]),
    )
