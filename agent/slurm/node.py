"""Our own node in Slurm: read it, drain it, lift our drain. One attempt a call; trying again is the caller's."""

import re
from collections.abc import Awaitable, Callable

from agent.clock import Clock
from agent.errors import AgentError
from agent.model.drain import Drain, NodeState
from agent.model.node import BootId, InstanceId
from agent.slurm.command import Scontrol
from agent.slurm.errors import SlurmRefused, SlurmUnavailable
from agent.slurm.parse import node_states
from agent.slurm.reason import Reason, is_ours_to_lift

SLURM_ITSELF = "slurm"
"""Whom slurmctld names beside a reason of its own: the usual SlurmUser."""

_ONE_NODE = re.compile(r"(?!all$)[a-z0-9][a-z0-9._-]*", re.IGNORECASE)


class SlurmNode:
    """Touches this one node. Someone else's drain is left as it is (P4); what stands afterwards is read back."""

    def __init__(self, name: str, scontrol: Scontrol, clock: Clock) -> None:
        """Raises SlurmRefused for a name that scontrol would take for several nodes."""
        if not _ONE_NODE.fullmatch(name):
            raise SlurmRefused("use", f"node name {name!r}", "not the name of one node")
        self.name = name
        self._scontrol = scontrol
        self._clock = clock

    @property
    def scontrol(self) -> Scontrol:
        """The way to Slurm, for what concerns more than this node."""
        return self._scontrol

    async def read(self) -> NodeState:
        """Return what Slurm says of the node. Raises SlurmUnavailable, SlurmRefused."""
        answer = await self._scontrol.show_node(self.name)
        try:
            states = list(node_states(answer))
        except ValueError as error:
            raise SlurmUnavailable("read", self.name, str(error)) from error
        for state in states:
            if state.name == self.name:
                return state
        raise SlurmUnavailable("read", self.name, f"the answer is about something else: {answer[:80]!r}")

    async def drain(self, reason: Reason, *, hold: Callable[[NodeState], Awaitable[None]] | None = None) -> Drain:
        """Drain the node; return OURS once that is read back, THEIRS when someone else's drain stands.

        Its first child is a read. If the node runs nothing, `hold` is awaited before it is drained. Raises
        SlurmUnavailable when the node is not known to be drained, SlurmRefused.
        """
        before = await self.read()
        if _is_taken_out_by_somebody(before):
            return Drain.THEIRS
        if before.is_drained and before.reason == str(reason):
            return Drain.OURS
        if hold is not None and before.is_idle and not before.is_drained:
            await hold(before)
        failure = await self._update(State="DRAIN", Reason=str(reason))
        after = await self.read()
        if not after.is_drained:
            raise failure or SlurmUnavailable("drain", self.name, "not drained after all")
        if after.reason == str(reason):
            return Drain.OURS
        if Reason.parse(after.reason) is None:
            return Drain.THEIRS
        raise failure or SlurmUnavailable("drain", self.name, f"an older reason still stands: {after.reason}")

    async def lift(self, *, instance_id: InstanceId, boot_id: BootId, has_live_notice: bool | None = False) -> Drain:
        """Lift the drain if it is ours to lift; return whose drain stands afterwards.

        `has_live_notice` as in `is_ours_to_lift`. Raises SlurmRefused and SlurmUnavailable, also while a predecessor's
        drain stands and our slurmd has not registered yet: lifted then, jobs would be sent to a node that is not there.
        """
        before = await self.read()
        if not before.is_drained:
            return Drain.NONE
        reason = Reason.parse(before.reason)
        if reason is None:
            return Drain.THEIRS
        now = self._clock.now()
        if not is_ours_to_lift(
            reason, instance_id=instance_id, boot_id=boot_id, now=now, has_live_notice=has_live_notice
        ):
            return Drain.OURS
        own = reason.is_of(instance_id=instance_id, boot_id=boot_id)
        if not own and not before.is_registered:
            raise SlurmUnavailable("lift the drain of", self.name, "slurmd has not registered yet")
        failure = await self._update(State="UNDRAIN")
        after = await self.read()
        if not after.is_drained:
            return Drain.NONE
        if Reason.parse(after.reason) is None:
            return Drain.THEIRS
        raise failure or SlurmUnavailable("lift the drain of", self.name, "still drained")

    async def _update(self, **settings: str) -> AgentError | None:
        """Write; return the failure, because only reading back tells whether it was one."""
        try:
            await self._scontrol.update_node(self.name, **settings)
        except (SlurmUnavailable, SlurmRefused) as error:
            return error
        return None


def _is_taken_out_by_somebody(state: NodeState) -> bool:
    """Tell whether a reason stands that is not ours to replace: of a drain, or of a DOWN that a person set.

    A DOWN of Slurm's own ("Not responding") ends by itself when slurmd is back, and the node would take jobs again.
    """
    if state.is_drained:
        return Reason.parse(state.reason) is None
    return state.base == "DOWN" and bool(state.reason) and state.reason_by != SLURM_ITSELF
