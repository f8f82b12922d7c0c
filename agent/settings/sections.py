"""The sections of the settings. Every key is obeyed by something: one that did nothing would be a lie.

`packaging/config.toml` says what each means; a test keeps the two together.
"""

from typing import Annotated, Literal

from agent.jobs.ownership import check_template
from agent.model.job import Restore
from agent.settings.checks import After, Exact
from agent.settings.text import (
    Account,
    Bucket,
    FilePath,
    Listen,
    Name,
    OptionalPath,
    Prefix,
    RelativePath,
    Time,
    TreePath,
    Writer,
)
from agent.settings.units import (
    Bandwidth,
    Budget,
    Bytes,
    DrainTimeout,
    Every,
    Grace,
    HookWindow,
    Margin,
    PackBelow,
    PackSize,
    PartSize,
    PeerTime,
    PollInterval,
    Quiet,
    Retention,
    parse_duration,
    parse_size,
)
from agent.value import value


def _check_connections(count: int) -> int:
    if not 1 <= count <= 128:
        raise ValueError("a number from 1 to 128")
    return count


Connections = Annotated[int, Exact(), After(_check_connections)]
Switch = Annotated[bool, Exact()]


@value
class NodeSection:
    """Who this node is; empty is found out."""

    name: Name = ""
    cluster: Name = ""
    writer: Writer = ""


@value
class ImdsSection:
    poll_interval: PollInterval = parse_duration("1s")


@value
class ScratchSection:
    paths: tuple[TreePath, ...] = ("/scratch",)
    exclude: tuple[str, ...] = ()
    priority: tuple[str, ...] = ()
    container_layers: tuple[RelativePath, ...] = ("docker", "containerd", "enroot")
    require_mount: Switch = True


@value
class S3Section:
    bucket: Bucket = ""
    prefix: Prefix = "hpc-agent"
    expected_bucket_owner: Account = ""
    kms_key_id: str = ""
    retention: Retention = parse_duration("14d")
    connections: Connections = 16
    part_size: PartSize = parse_size("8MiB")

    @property
    def most_connections(self) -> int:
        """Up to which connections are added while that makes a copy faster."""
        return 4 * self.connections


@value
class CheckpointSection:
    """How files are stored, and what is saved before there is a notice."""

    pack_below: PackBelow = parse_size("1MiB")
    pack_size: PackSize = parse_size("8MiB")
    lead: Literal["auto", "always", "never"] = "auto"
    lead_budget: Budget = parse_duration("60s")
    lead_quiet: Quiet = parse_duration("10m")
    lead_bytes_per_day: Bytes = parse_size("500GiB")
    every: Every = ""
    bandwidth_limit: Bandwidth = ""


@value
class EvacuationSection:
    safety_margin: Margin = parse_duration("15s")


@value
class CapacityBlockSection:
    """The end of a Capacity Block; `end` stands in while EC2 does not tell."""

    ask: Switch = True
    end: Time = ""
    slurm_reservation: Switch = False


@value
class AsgSection:
    hook_window: HookWindow = parse_duration("5m")


@value
class SlurmSection:
    bin_dir: OptionalPath = ""
    drain_timeout: DrainTimeout = parse_duration("10s")
    hold_idle: Switch = True
    requeue: Switch = True
    signal: Literal["", "HUP", "INT", "QUIT", "TERM", "USR1", "USR2", "CONT", "URG", "WINCH"] = ""
    signal_grace: Grace = parse_duration("30s")
    peer_save: Literal["job-dir", "off"] = "job-dir"
    peer_save_bytes: Bytes = parse_size("20GiB")
    peer_save_time: PeerTime = parse_duration("60s")


@value
class JobsSection:
    """Whose files are whose, and which of them a requeued job finds again."""

    files: tuple[Annotated[str, After(check_template)], ...] = (
        "/scratch/{job_id}",
        "/scratch/{user}/{job_id}",
    )
    restore: Restore = Restore.ON


@value
class HttpSection:
    listen: Listen = "[::]:9732"


@value
class StateSection:
    dir: FilePath = "/var/lib/hpc-agent"
    socket: FilePath = "/run/hpc-agent/agent.sock"
