"""Whose drain stands on our node, as far as we know."""

from enum import StrEnum

from agent.value import value


class Drain(StrEnum):
    """NONE: not drained. OURS: drained with our reason, read back. THEIRS: somebody else's, left alone."""

    NONE = "none"
    OURS = "ours"
    THEIRS = "theirs"


@value
class NodeState:
    """What `scontrol show node` said. `flags` are upper case without the base state; `*` is the flag NOT_RESPONDING."""

    name: str
    base: str
    flags: frozenset[str]
    reason: str = ""
    reason_by: str = ""
    instance_id: str = ""
    partitions: tuple[str, ...] = ()

    @property
    def is_idle(self) -> bool:
        """Whether nothing runs on it."""
        return self.base == "IDLE"

    @property
    def is_drained(self) -> bool:
        return "DRAIN" in self.flags

    @property
    def is_registered(self) -> bool:
        """Its slurmd has told the controller that it is there."""
        absent = {"NOT_RESPONDING", "POWERING_UP", "POWERED_DOWN", "POWERING_DOWN"}
        return self.base not in {"DOWN", "FUTURE", "UNKNOWN"} and not self.flags & absent
