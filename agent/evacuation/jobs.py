"""The jobs of the node as an evacuation sees them: who has to be stopped, and what became of each."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from enum import StrEnum

from agent.value import value


class Dealt(StrEnum):
    """What became of a job. A word of the outcome record: never changed once given."""

    RUNNING = "running"
    """Nothing was done to it."""
    FROZEN = "frozen"
    """Its processes on this node are stopped where they are."""
    REQUEUED = "requeued"
    """Slurm has it back: it starts again elsewhere."""
    PEER = "requeued-by-another"
    """Slurm has it back, from the agent of another of its nodes or from a person."""
    LEFT = "left"
    """It could not be requeued."""
    ENDED = "ended"
    """It ended by itself while the node was being left."""


@value
class Held:
    """A job that holds this node, in its life number `life`. `ref` is what Slurm's commands call it.

    `why` says why it can't be requeued, "" when it can. `signal` is what it asked for, `grace` seconds before it is
    stopped; `signalled` whether it was sent.
    """

    ref: str
    id: int
    uid: int
    user: str
    life: int
    why: str = ""
    signal: str = ""
    grace: float = 0.0
    dealt: Dealt = Dealt.RUNNING
    signalled: bool = False

    @property
    def is_to_be_stopped(self) -> bool:
        """Whether the files it writes are not final yet, and Slurm would take it back."""
        return self.dealt is Dealt.RUNNING and not self.why

    @property
    def is_to_be_requeued(self) -> bool:
        return self.dealt is Dealt.FROZEN or self.is_to_be_stopped


Jobs = Mapping[str, Held]
"""By `ref`."""


def seen(known: Jobs | None, running: Iterable[Held], requeued: Iterable[str]) -> Jobs:
    """Return what is known after a look: the jobs that run, and the `ref` of those that Slurm has taken back.

    What was done to a job of the same life stays done.
    """
    known, now, taken = known or {}, {job.ref: job for job in running}, set(requeued)
    merged = {}
    for ref, job in {**known, **now}.items():
        before = known.get(ref)
        if before is None or (ref in now and before.life != now[ref].life):
            merged[ref] = job
        elif ref in now or before.dealt not in {Dealt.RUNNING, Dealt.FROZEN}:
            merged[ref] = before
        else:
            merged[ref] = replace(before, dealt=Dealt.PEER if ref in taken else Dealt.ENDED)
    return merged
