"""An allocation of our own, without a process in it, so that a node that runs nothing is not taken for idle.

ParallelCluster's head node ends a node that is drained and idle within a minute, whatever is on its disk. One that is
allocated is left alone, and Slurm gives an allocation at once, where a batch job waits for the scheduler (measured on
22.05: 0.04 to 0.15 s).
"""

from typing import Final

from agent.model.drain import NodeState
from agent.slurm.node import SlurmNode

NAME: Final = "hpc-agent-hold"
"""Of root's job: what is no job of anybody, and is neither saved nor requeued."""
SECONDS: Final = 2
"""Slurm's time to give it; then nothing of it stays in the queue."""
MEMORY: Final = "32M"


class Hold:
    """Holds `node`. Both raise SlurmUnavailable and SlurmRefused."""

    def __init__(self, node: SlurmNode) -> None:
        self._name = node.name
        self._salloc = node.scontrol.beside("salloc")
        self._scancel = node.scontrol.beside("scancel")

    async def begin(self, state: NodeState, *, minutes: int) -> None:
        """Take the node, which `state` shows idle, for so long at most."""
        size = ("--nodes=1", "--ntasks=1", f"--mem={MEMORY}", f"--time={minutes}", f"--immediate={SECONDS}")
        partition = [f"--partition={state.partitions[0]}"] if state.partitions else []
        where = (f"--nodelist={self._name}", *partition, "--chdir=/")
        await self._salloc.run("--no-shell", "--quiet", f"--job-name={NAME}", *size, *where)

    async def end(self) -> None:
        """Let it go, whoever took it: also an agent that has died since."""
        await self._scancel.run("--quiet", f"--name={NAME}", f"--nodelist={self._name}", "--user=root")
