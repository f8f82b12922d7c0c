"""Which cluster this is: a name plus 8 hex digits of one incarnation, because names and job ids are used again."""

import hashlib
import json
import re
from collections.abc import Mapping

from agent.slurm.command import Scontrol
from agent.slurm.errors import SlurmUnavailable
from agent.slurm.host import Host
from agent.slurm.locate import Found
from agent.slurm.parse import config

STANDALONE = "standalone-00000000"
PARALLELCLUSTER_FACTS = "/etc/chef/dna.json"
CONF_FILES = ("/etc/slurm/slurm.conf", "/run/slurm/conf/slurm.conf")


async def find_cluster(
    host: Host, *, setting: str = "", environ: Mapping[str, str], scontrol: Scontrol | None = None
) -> Found:
    """Return `<name>-<8 hex>`, the same on every node of the cluster for as long as the cluster lives.

    In this order: the setting as it is; ParallelCluster's own facts; PCS_CLUSTER_ID of `environ` (PCS gives it to
    lifecycle actions only, the installer passes it on); ClusterName and SlurmctldHost as the controller tells them, or
    slurm.conf while it does not answer; without scontrol `standalone-00000000`. Raises SlurmUnavailable when neither
    tells.
    """
    if setting:
        return Found(value=setting, how="setting node.cluster")
    if found := _parallelcluster(await host.text(PARALLELCLUSTER_FACTS)):
        return found
    if cluster_id := environ.get("PCS_CLUSTER_ID"):
        name = environ.get("PCS_CLUSTER_NAME") or "pcs"
        return Found(value=identity(name, cluster_id), how="PCS: PCS_CLUSTER_ID")
    if scontrol is None:
        return Found(value=STANDALONE, how="no Slurm")
    try:
        return _from_config(config(await scontrol.show_config()), "slurmctld")
    except SlurmUnavailable:
        for path in filter(None, (environ.get("SLURM_CONF"), *CONF_FILES)):
            if text := await host.text(path):
                return _from_config(_from_file(text), path)
        raise


def identity(name: str, incarnation: str) -> str:
    """Return the name, in the letters that a key can have, and 8 hex digits of the incarnation."""
    return f"{re.sub(r'[^A-Za-z0-9._-]', '-', name)[:100]}-{hashlib.sha256(incarnation.encode()).hexdigest()[:8]}"


def _parallelcluster(text: str) -> Found | None:
    """Read dna.json as aws-parallelcluster 3.x writes it for compute nodes (templates/queues_stack.py).

    The stack of a compute node may be a nested one of its queue. The folder of the cluster's configuration,
    `parallelcluster/<version>/clusters/<name>-<random>`, is one for the cluster and new for each: it comes first.
    """
    try:
        cluster = json.loads(text)["cluster"]
        name = str(cluster["stack_name"])
    except (ValueError, KeyError, TypeError):
        return None
    folder, found, _ = str(cluster.get("cluster_config_s3_key", "")).partition("/configs/")
    incarnation = folder if found else str(cluster.get("stack_arn", ""))
    return (
        Found(value=identity(name, incarnation), how=f"ParallelCluster: {PARALLELCLUSTER_FACTS}")
        if incarnation
        else None
    )


def _from_config(values: Mapping[str, str], source: str) -> Found:
    name, controller = values.get("ClusterName", "").lower(), values.get("SlurmctldHost[0]", "")
    if not name or not controller:
        raise SlurmUnavailable("read", "the configuration", f"no ClusterName or SlurmctldHost from {source}")
    return Found(value=identity(name, f"{name} {controller}"), how=f"ClusterName and SlurmctldHost of {source}")


def _from_file(text: str) -> dict[str, str]:
    """Read the two keys of slurm.conf that count, written as `scontrol show config` writes them."""
    found = {}
    for key, name in (("ClusterName", "ClusterName"), ("SlurmctldHost", "SlurmctldHost[0]")):
        if match := re.search(rf"^\s*{key}\s*=\s*([^\s#]+)", text, re.MULTILINE | re.IGNORECASE):
            found[name] = match[1]
    return found
