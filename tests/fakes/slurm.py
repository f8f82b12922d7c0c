"""Slurm for tests: the process port into a lab node, scripted answers, and one bench over the lab and the stand-in."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from agent.demo.cluster import Cluster
from agent.demo.stand_in import StandIn
from agent.processes import Finished, SystemProcesses
from agent.slurm.command import Scontrol


class InNode:
    """The process port: every child runs inside a node of the lab."""

    def __init__(self, cluster: Cluster, node: str, *, user: str = "") -> None:
        self._cluster, self._node, self._user = cluster, node, user
        self._host = SystemProcesses()

    async def run(self, argv: Sequence[str], *, seconds: float, env: Mapping[str, str] | None = None) -> Finished:
        command = self._cluster.command(self._node, argv, user=self._user, env=env)
        return await self._host.run(command, seconds=seconds)


@dataclass
class Scripted:
    """The process port: the answers in turn, errors raised; what was asked is in `calls`, with what environment."""

    answers: list[Finished | Exception]
    calls: list[list[str]] = field(default_factory=list)
    envs: list[Mapping[str, str]] = field(default_factory=list)

    async def run(self, argv: Sequence[str], *, seconds: float, env: Mapping[str, str] | None = None) -> Finished:
        self.calls.append(list(argv))
        self.envs.append(dict(env or {}))
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


def said(out: str = "", err: str = "", *, code: int = 0) -> Finished:
    return Finished(code=code, out=out, err=err)


def record(state: str = "IDLE", reason: str = "", *, name: str = "n1", by: str = "root", instance_id: str = "") -> str:
    """Return a line of `scontrol show node -o` with the fields that matter."""
    signed = f" Reason={reason} [{by}@2026-11-23T09:10:35]" if reason else ""
    instance = f" InstanceId={instance_id} " if instance_id else ""
    return f"NodeName={name} CoresPerSocket=1  State={state} ThreadsPerCore=1{signed}{instance}\n"


class LabBench:
    """The contract's view of the real cluster: node n1 and its controller."""

    node = "n1"

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        # A client that gives up after 2 s instead of 10: the client's own slurm.conf counts.
        conf = cluster.inside("n1", "/etc/slurm/slurm.conf").read_text()
        (cluster.shared / "quick.conf").write_text(conf.replace("MessageTimeout=10", "MessageTimeout=2"))

    def scontrol(self, *, unprivileged: bool = False) -> Scontrol:
        in_node = InNode(self._cluster, self.node, user="alice" if unprivileged else "")
        return Scontrol(in_node, "scontrol", conf="/shared/quick.conf")

    def administrator(self, *settings: str) -> None:
        update = ["scontrol", "update", f"NodeName={self.node}", *settings]
        self._cluster.run("head", update, user="slurm", check=True)

    def shown(self) -> str:
        return self._cluster.node_state(self.node)

    def stop(self) -> None:
        self._cluster.controller_stop()

    def start(self) -> None:
        self._cluster.controller_start()

    def freeze(self) -> None:
        self._cluster.controller_freeze()

    def thaw(self) -> None:
        self._cluster.controller_thaw()

    def settle(self) -> None:
        """Wait until the node answers slurmctld: for a second after an UNDRAIN it is NOT_RESPONDING."""
        self._cluster.settle()

    def tidy(self) -> None:
        # rc 1 right after a restart of slurmctld, done all the same: only the state tells.
        self._cluster.run("head", ["scontrol", "update", f"NodeName={self.node}", "State=UNDRAIN"])
        assert "DRAIN" not in self.shown()


class StandInBench:
    """The contract's view of the stand-in."""

    node = "n1"

    def __init__(self, directory: Path) -> None:
        self._stand_in = StandIn.create(directory, ["n1", "n2"], message_timeout=0.4)

    def scontrol(self, *, unprivileged: bool = False) -> Scontrol:
        if unprivileged:
            self._stand_in.refuse()
        return Scontrol(SystemProcesses(), str(self._stand_in.program))

    def administrator(self, *settings: str) -> None:
        values = dict(setting.split("=", maxsplit=1) for setting in settings)
        flags = ["DRAIN"] if values["State"] == "DRAIN" else []
        self._stand_in.change("n1", flags=flags, reason=values["Reason"], signed="slurm@2026-11-23T09:10:35")

    def shown(self) -> str:
        return self._stand_in.node_state(self.node)

    def stop(self) -> None:
        self._stand_in.controller("down")

    def start(self) -> None:
        self._stand_in.controller("up")

    def freeze(self) -> None:
        self._stand_in.controller("hung")

    def thaw(self) -> None:
        self._stand_in.controller("up")

    def settle(self) -> None:
        """Its nodes always answer."""

    def tidy(self) -> None:
        """Each test has a stand-in of its own."""
