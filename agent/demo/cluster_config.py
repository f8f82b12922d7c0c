"""The slurm.conf and the hosts file of a lab cluster."""

from collections.abc import Iterable, Mapping

HEAD = "head"
HEAD_ADDRESS = "10.99.0.1"

DEFAULTS: Mapping[str, str] = {
    "ClusterName": "lab",
    "SlurmctldHost": f"{HEAD}({HEAD_ADDRESS})",
    "SlurmUser": "slurm",
    "SlurmdUser": "root",
    "AuthType": "auth/munge",
    # A requeued job waits for its old credential to expire: 121 s by default, 7 s with this; less than 6 is ignored.
    "AuthInfo": "cred_expire=6",
    "StateSaveLocation": "/var/spool/slurmctld",
    "SlurmdSpoolDir": "/var/spool/slurmd",
    "SlurmctldPidFile": "/run/slurmctld/slurmctld.pid",
    "SlurmdPidFile": "/run/slurmd.pid",
    "SlurmctldLogFile": "/shared/log/slurmctld.log",
    "SlurmdLogFile": "/shared/log/slurmd-%n.log",
    "ProctrackType": "proctrack/linuxproc",
    "TaskPlugin": "task/none",
    "JobAcctGatherType": "jobacct_gather/none",
    "SelectType": "select/cons_tres",
    "SelectTypeParameters": "CR_Core",
    "AccountingStorageType": "accounting_storage/none",
    "MpiDefault": "none",
    "SwitchType": "switch/none",
    "ReturnToService": "2",
    "SlurmctldTimeout": "30",
    "SlurmdTimeout": "30",
    "MessageTimeout": "10",
    "KillWait": "5",
    "TCPTimeout": "2",
    # Else a job waits up to 30 s for its start.
    "SchedulerParameters": "batch_sched_delay=0,sched_interval=1,bf_interval=1",
    # Nodes may have more CPUs than the machine.
    "SlurmdParameters": "config_overrides",
    "SlurmdDebug": "info",
    "SlurmctldDebug": "info",
}


def address(node: str) -> str:
    """Return the address of `head` or of `n<number>`."""
    if node == HEAD:
        return HEAD_ADDRESS
    number = int(node.removeprefix("n"))
    return f"10.99.{1 + number // 250}.{1 + number % 250}"


def slurm_conf(nodes: Iterable[str], extra: str = "", *, cpus: int = 4) -> str:
    """Write slurm.conf; a line of `extra` replaces the default of the same key."""
    own = [line for line in extra.splitlines() if line.strip()]
    replaced = {line.partition("=")[0].strip().lower() for line in own}
    kept = [f"{key}={value}" for key, value in DEFAULTS.items() if key.lower() not in replaced]
    hardware = [f"NodeName={n} NodeAddr={address(n)} CPUs={cpus} RealMemory=1000 State=UNKNOWN" for n in nodes]
    partition = "PartitionName=p Nodes=ALL Default=YES MaxTime=INFINITE State=UP"
    return "\n".join([*kept, *own, *hardware, partition, ""])


def hosts(nodes: Iterable[str]) -> str:
    """Write /etc/hosts: every node knows every other by its name."""
    names = ["127.0.0.1 localhost", "::1 localhost"]
    return "\n".join([*names, *(f"{address(node)} {node}" for node in (HEAD, *nodes)), ""])
