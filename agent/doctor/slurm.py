"""Slurm: whether the controller answers, knows this node and would let it drain itself; nothing is changed."""

import asyncio
import os
import re
from collections.abc import Mapping
from typing import Final

from agent.clock import SystemClock
from agent.doctor.finding import Finding, green, red, unknown, yellow
from agent.errors import AgentError
from agent.model.drain import NodeState
from agent.processes import Processes
from agent.settings import Mode, Settings
from agent.slurm.barrier import calls_us, scripts
from agent.slurm.command import Scontrol
from agent.slurm.errors import SlurmMissing
from agent.slurm.host import Host
from agent.slurm.locate import find_node_name, find_scontrol
from agent.slurm.node import SlurmNode
from agent.slurm.parse import config
from agent.slurm.reason import Reason
from agent.value import value

NAMES: Final = ("slurm", "slurm node", "drain right", "barrier")
SLURM, NODE, RIGHT, BARRIER = NAMES

SECONDS: Final = 5.0
"""For one scontrol. A dead controller takes longer to be given up (MessageTimeout), which says as much."""

_UID: Final = re.compile(r".*\((\d+)\)")


@value
class Machine:
    """Where Slurm is looked for, and as whom. `processes` also run the looks at Slurm's file systems."""

    processes: Processes
    host: Host
    path: str
    host_name: str
    uid: int = -1

    @property
    def user(self) -> int:
        return os.geteuid() if self.uid < 0 else self.uid


async def look_at_slurm(settings: Settings, machine: Machine, *, instance_id: str) -> list[Finding]:
    """Return the findings of all NAMES that could be looked at."""
    try:
        found = await find_scontrol(machine.host, bin_dir=settings.slurm.bin_dir, path=machine.path)
    except SlurmMissing as error:
        wanted = settings.mode is Mode.ACT
        return [(red if wanted else yellow)(SLURM, f"{error.detail}: no node would be drained", error.hint)]
    except AgentError as error:
        return [red(SLURM, str(error.detail), error.hint)]
    seconds = min(SECONDS, settings.slurm.drain_timeout.total_seconds())
    scontrol = Scontrol(machine.processes, found.value, conf=settings.slurm_conf, seconds=seconds)
    about_node = asyncio.create_task(_node(settings, machine, scontrol, instance_id), name="look at our node")
    try:
        values = config(await scontrol.show_config())
    except AgentError as error:
        about_node.cancel()
        hint = error.hint or f"{found.value} ping; if it finds no slurm.conf, set SLURM_CONF"
        return [red(SLURM, f"slurmctld does not answer {found.value}: {error.detail}", hint)]
    version = values.get("SLURM_VERSION", "of an unknown version")
    return [
        green(SLURM, f"slurmctld answers {found.value} ({found.how}), Slurm {version}"),
        await about_node,
        may_drain(values, machine.user),
        await look_at_barrier(values, machine.processes),
    ]


async def _node(settings: Settings, machine: Machine, scontrol: Scontrol, instance_id: str) -> Finding:
    try:
        found = await find_node_name(
            machine.host,
            setting=settings.node.name,
            instance_id=instance_id,
            host_name=machine.host_name,
            scontrol=scontrol,
        )
        state = await SlurmNode(found.value, scontrol, SystemClock()).read()
    except AgentError as error:
        return red(NODE, f"{error.op} {error.subject}: {error.detail}", error.hint or "set node.name")
    return about(state, found.how)


def about(state: NodeState, how: str) -> Finding:
    """Return what the state of our node means. Pure."""
    said = f"{state.name} ({how}): {'+'.join((state.base, *sorted(state.flags)))}"
    if state.is_drained and Reason.parse(state.reason) is None:
        return yellow(NODE, f"{said}, drained by somebody else", "their drain is left alone; it takes no jobs")
    if state.base == "DOWN":
        return red(NODE, said, "is slurmd running?")
    return green(NODE, said)


def may_drain(values: Mapping[str, str], uid: int) -> Finding:
    """Whether slurmctld would take an update of a node from us: it does from root and SlurmUser.

    An administrator of its accounting may as well (`validate_super_user` in proc_req.c, Slurm 23.11 to 26.05; an
    operator may not), which the database knows and the node does not.
    """
    if uid == 0:
        return green(RIGHT, "root may drain this node")
    found = _UID.fullmatch(values.get("SlurmUser", ""))
    if found and int(found[1]) == uid:
        return green(RIGHT, "SlurmUser may drain this node")
    return unknown(RIGHT, f"user {uid} is neither root nor SlurmUser, the agent is", "run as root")


async def look_at_barrier(values: Mapping[str, str], processes: Processes) -> Finding:
    """Whether an Epilog keeps the node until its files are saved, and a Prolog brings them back."""
    missing: list[str] = []
    for kind in ("Epilog", "Prolog"):
        try:
            if not await calls_us(scripts(values, kind), processes):
                missing.append(kind)
        except AgentError as error:
            return unknown(BARRIER, f"{kind}: {error.detail}", error.hint)
    if not missing:
        return green(BARRIER, "Epilog and Prolog call the agent")
    said = f"no barrier: no {' and no '.join(missing)} of Slurm calls the agent"
    return yellow(BARRIER, said, "Slurm may give a node away, or start a job again, before its files are saved")
