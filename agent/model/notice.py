"""A notice: somebody is going to take this node away, and when."""

from datetime import datetime
from enum import StrEnum

from agent.value import value


class NoticeKind(StrEnum):
    """Every way a node can be taken away. A closed set: what IMDS says is mapped to one of these or refused."""

    SPOT_TERMINATE = "spot-terminate"
    SPOT_STOP = "spot-stop"
    SPOT_HIBERNATE = "spot-hibernate"
    CAPACITY_BLOCK_END = "capacity-block-end"
    INTERRUPTIBLE_RESERVATION = "interruptible-reservation"
    ASG_TERMINATE = "asg-terminate"
    WARM_POOL_RETURN = "warm-pool-return"
    SCHEDULED_EVENT = "scheduled-event"
    REBALANCE = "rebalance"
    SHUTDOWN = "shutdown"
    OPERATOR = "operator"


@value
class Notice:
    """One reason to leave.

    `id` is stable over polls and restarts. `ends_at` is the wall time that the source gave (aware, UTC), for people and
    for records. `due` is the same instant in monotonic seconds (`loop.time()`), fixed when the notice was first seen or
    changed, so that a jump of the wall clock moves nothing. A `stale` one was long past when first seen: it is shown,
    and not acted on (P5).
    """

    id: str
    kind: NoticeKind
    ends_at: datetime
    due: float
    seen_at: datetime
    source: str
    stale: bool = False
    code: str = ""
    """What sort of scheduled event; empty for other kinds."""
    lasts: float = 0.0
    """Seconds past `due` within which what is announced may still come: a scheduled event has a window."""
