"""Who we are: the machine as EC2 knows it and the node as Slurm knows it."""

from typing import NewType

from agent.value import value

NodeName = NewType("NodeName", str)
InstanceId = NewType("InstanceId", str)
BootId = NewType("BootId", str)
"""The kernel's /proc/sys/kernel/random/boot_id, dashes kept: one life of the machine."""


@value
class Identity:
    """The machine, from IMDS. An empty field is one that IMDS did not tell."""

    instance_id: InstanceId
    instance_type: str = ""
    region: str = ""
    zone: str = ""
    life_cycle: str = ""
    account: str = ""

    @property
    def is_spot(self) -> bool:
        return self.life_cycle == "spot"


@value
class Node:
    """One life of one node: what stored data and drain reasons are keyed by.

    `cluster` is a name plus 8 hex digits of an incarnation id, because cluster names and job ids are used again.
    `writer` is the caller's `aws:userid` verbatim (`AROA...:i-...`), `-` away from EC2.
    """

    name: NodeName
    cluster: str
    instance_id: InstanceId
    boot_id: BootId
    writer: str
