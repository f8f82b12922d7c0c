"""ParallelCluster's head node, as far as a drained node has to fear it: clustermgtd ends what is drained and idle.

Its rule (aws-parallelcluster-node, src/slurm_plugin/clustermgtd.py): once in 60 s every node that is DRAIN and runs
nothing is terminated. One that is ALLOCATED, MIXED or COMPLETING is healthy: a job or an Epilog keeps it.
"""

import subprocess
import threading
import time
from types import TracebackType
from typing import Self

from agent.demo.cluster import Cluster
from agent.errors import AgentError
from agent.model.drain import NodeState
from agent.slurm.parse import node_states

LOOP = 60.0
"""Seconds between two looks of the real one."""
BUSY = frozenset({"ALLOCATED", "MIXED"})


def is_ended(state: NodeState) -> bool:
    """Whether the head node ends a node in this state."""
    return state.is_drained and state.base not in BUSY and "COMPLETING" not in state.flags


class HeadNode:
    """Looks at all nodes `every` so many seconds, first after `first` seconds (`every` unless given), while it is
    entered; what it ends dies at once, as with `Cluster.kill`.

    The shorter `every`, the stricter: what survives a look a second survives the real one at any moment. `ended` has
    the monotonic time at which each node was ended, `trouble` what went wrong with the looking: empty, or the test
    has shown nothing.
    """

    def __init__(self, cluster: Cluster, *, every: float = 1.0, first: float | None = None) -> None:
        self.ended: dict[str, float] = {}
        self.looks = 0
        self.trouble: list[Exception] = []
        self._cluster = cluster
        self._every = every
        self._first = every if first is None else first
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="head node", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join(timeout=30)

    def _run(self) -> None:
        pause = self._first
        while not self._over.wait(pause):
            pause = self._every
            try:
                self._look()
            except (AgentError, OSError, ValueError, subprocess.SubprocessError) as error:
                self.trouble.append(error)

    def _look(self) -> None:
        shown = self._cluster.run("head", ["scontrol", "show", "node", "-o"], check=True).stdout
        self.looks += 1
        for state in node_states(shown):
            if is_ended(state) and state.name not in self.ended:
                self.ended[state.name] = time.monotonic()
                self._cluster.kill(state.name)
