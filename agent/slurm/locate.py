"""Finds scontrol and our node's name: systemd's PATH has no /opt/slurm, and a node's name need not be its host's."""

import re
from collections.abc import AsyncIterator
from pathlib import Path, PurePosixPath

from agent.slurm import slurmd
from agent.slurm.command import Scontrol
from agent.slurm.errors import SlurmMissing, SlurmRefused, SlurmUnavailable
from agent.slurm.host import Host
from agent.slurm.parse import node_states
from agent.value import value

PARALLELCLUSTER_BIN = "/opt/slurm/bin"
PARALLELCLUSTER_NODE_NAME = "/etc/parallelcluster/slurm_plugin/slurm_nodename"
PCS_IN_USE = "/etc/aws/pcs/scheduler/slurm"
PCS_VERSIONS = "/opt/aws/pcs/scheduler"


@value
class Found:
    """What was looked for, and how it was found, for people."""

    value: str
    how: str


async def find_scontrol(host: Host, *, bin_dir: str = "", path: str = "") -> Found:
    """Return where scontrol is: the setting, ParallelCluster, PCS, beside the running slurmd, `path` (as in $PATH).

    Raises SlurmMissing, also for a `bin_dir` without it, and SlurmUnavailable when a file system does not answer.
    """
    async for folder, how in _bin_folders(host, bin_dir, path):
        program = folder / "scontrol"
        if await host.can_run(program):
            return Found(value=str(program), how=how)
    hint = f"there is no scontrol in {bin_dir}" if bin_dir else "set slurm.bin_dir if there is a Slurm"
    raise SlurmMissing("find", "scontrol", "no Slurm on this machine", hint=hint)


async def find_node_name(
    host: Host, *, setting: str = "", instance_id: str = "", host_name: str = "", scontrol: Scontrol | None = None
) -> Found:
    """Return the node's own name in Slurm.

    In this order: the setting, ParallelCluster's file, -N of the running slurmd, the node with our instance id
    (Slurm 23.11 and later know it on PCS), the short host name if Slurm has such a node.
    Raises SlurmMissing when there is none, SlurmUnavailable when Slurm has to be asked and does not answer.
    """
    if setting:
        return Found(value=setting, how="setting node.name")
    if name := (await host.text(PARALLELCLUSTER_NODE_NAME)).strip():
        return Found(value=name, how=f"ParallelCluster: {PARALLELCLUSTER_NODE_NAME}")
    names = {found.node for found in await host.ask(lambda: slurmd.running(host.at("/proc"))) if found.node}
    if len(names) == 1:
        return Found(value=names.pop(), how="-N of the running slurmd")
    if scontrol is None:
        raise SlurmMissing("find", "the node's name", "there is no scontrol to ask", hint="set node.name")
    return await _ask_slurm(scontrol, instance_id, host_name.split(".", maxsplit=1)[0])


async def _bin_folders(host: Host, bin_dir: str, path: str) -> AsyncIterator[tuple[Path, str]]:
    if bin_dir:
        yield Path(bin_dir), "setting slurm.bin_dir"
        return
    yield host.at(PARALLELCLUSTER_BIN), "ParallelCluster: /opt/slurm"
    yield host.at(PCS_IN_USE) / "bin", f"PCS: {PCS_IN_USE}"
    for found in await host.ask(lambda: slurmd.running(host.at("/proc"))):
        if found.program:
            yield host.at(str(PurePosixPath(found.program).parent.parent / "bin")), "beside the running slurmd"
    for folder in await host.ask(lambda: _newest_first(host.at(PCS_VERSIONS))):
        yield folder / "bin", f"PCS: highest version in {PCS_VERSIONS}"
    for folder_name in filter(None, path.split(":")):
        yield host.at(folder_name), "PATH"


def _newest_first(versions: Path) -> list[Path]:
    folders = [folder for folder in versions.glob("slurm-*") if re.fullmatch(r"slurm-\d+(\.\d+)*", folder.name)]
    return sorted(folders, key=lambda folder: [int(part) for part in folder.name[6:].split(".")], reverse=True)


async def _ask_slurm(scontrol: Scontrol, instance_id: str, short_name: str) -> Found:
    if instance_id and (name := await _node_of(scontrol, instance_id)):
        return Found(value=name, how=f"scontrol show node: InstanceId={instance_id}")
    try:
        await scontrol.show_node(short_name)
    except SlurmRefused as error:
        hint = "set node.name to the NodeName of slurm.conf"
        raise SlurmMissing("find", "the node's name", f"Slurm has no node {short_name}", hint=hint) from error
    return Found(value=short_name, how="host name")


async def _node_of(scontrol: Scontrol, instance_id: str) -> str:
    try:
        states = list(node_states(await scontrol.show_nodes()))
    except ValueError as error:
        raise SlurmUnavailable("list", "nodes", str(error)) from error
    return next((state.name for state in states if state.instance_id == instance_id), "")
