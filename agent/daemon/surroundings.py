"""How the pieces of who we are are found on a real node: IMDS, Slurm's files and commands, STS."""

import json
import socket
import sys
from collections.abc import Mapping
from typing import Final

from agent.clock import Clock
from agent.daemon.memory import Memory
from agent.errors import TransientError
from agent.imds.client import Imds
from agent.imds.identity import identify
from agent.model.node import Identity
from agent.processes import Processes
from agent.settings import Settings
from agent.slurm.cluster import find_cluster
from agent.slurm.command import Scontrol
from agent.slurm.errors import SlurmMissing
from agent.slurm.host import Host
from agent.slurm.locate import find_node_name, find_scontrol
from agent.slurm.node import SlurmNode

ASK_SECONDS: Final = 8.0
"""Seconds for the child that asks STS who we are; it limits itself to 5."""


class WriterUnknown(TransientError):
    """STS did not say who we are."""


class Surroundings:
    """The questions that `Whoami` asks. What `memory` holds of this boot is not asked again."""

    def __init__(
        self,
        settings: Settings,
        *,
        environ: Mapping[str, str],
        imds: Imds,
        host: Host,
        processes: Processes,
        slurm_processes: Processes,
        clock: Clock,
        memory: Memory,
    ) -> None:
        self._settings = settings
        self._environ = environ
        self._imds = imds
        self._host = host
        self._processes = processes
        self._slurm_processes = slurm_processes
        self._clock = clock
        self._memory = memory
        self._scontrol: Scontrol | None = None

    async def identity(self) -> Identity:
        return await identify(self._imds)

    async def slurm(self, identity: Identity | None) -> SlurmNode | None:
        """Return our node in Slurm, None on a machine without Slurm."""
        slurm = self._settings.slurm
        try:
            binary = await find_scontrol(self._host, bin_dir=slurm.bin_dir, path=self._environ.get("PATH", ""))
        except SlurmMissing:
            return None
        self._scontrol = Scontrol(
            self._slurm_processes,
            binary.value,
            conf=self._settings.slurm_conf,
            seconds=slurm.drain_timeout.total_seconds(),
        )
        name = await find_node_name(
            self._host,
            setting=self._settings.node.name or self._memory.name,
            instance_id=identity.instance_id if identity else "",
            host_name=socket.gethostname(),
            scontrol=self._scontrol,
        )
        return SlurmNode(name.value, self._scontrol, self._clock)

    async def cluster(self, _slurm: SlurmNode | None) -> str:
        setting = self._settings.node.cluster or self._memory.cluster
        found = await find_cluster(self._host, setting=setting, environ=self._environ, scontrol=self._scontrol)
        return found.value

    async def writer(self) -> str:
        """Return our `aws:userid`, asked by a child: control itself never loads an AWS library."""
        known = self._settings.node.writer or self._memory.writer
        return known or _userid(await self._ask_sts())

    async def _ask_sts(self) -> str:
        argv = [sys.executable, "-m", "agent.aws.caller"]
        return (await self._processes.run(argv, seconds=ASK_SECONDS)).out


def _userid(answer: str) -> str:
    try:
        document = json.loads(answer)
        return str(document["userid"])
    except (ValueError, KeyError, TypeError) as error:
        what, hint = "no answer", "see the journal"
        if isinstance(error, KeyError):
            what, hint = str(document.get("error", what)), str(document.get("hint", hint))
        raise WriterUnknown("ask STS", "who we are", what, hint=hint) from error
