"""A job of this node, as Slurm knows it."""

from enum import StrEnum
from typing import Final

from agent.value import value

RUNNING: Final = frozenset({"RUNNING", "STOPPED", "SUSPENDED", "SIGNALING", "CONFIGURING", "STAGE_OUT"})
"""States in which a job holds its nodes and has not begun to end."""


SIGNALS: Final = frozenset({"HUP", "INT", "QUIT", "USR1", "USR2", "TERM", "CONT", "URG", "WINCH"})
"""What a program can trap; KILL and STOP would be no message."""


class Restore(StrEnum):
    """What a job wants of its files after a requeue. FUZZY: also those that were saved while it was writing."""

    ON = "on"
    FUZZY = "fuzzy"
    OFF = "off"


@value
class Wishes:
    """What a job asks for: a `signal` (`USR1`), "" for none, None for what everybody gets, `grace` seconds before it is
    stopped.
    """

    signal: str | None = None
    grace: float = 30.0
    restore: Restore = Restore.ON


@value
class Job:
    """One job, or one task of a job array, at one moment.

    `id` is Slurm's own number; `array` and `task` are set for a task of an array. `state` is one of Slurm's words,
    `RUNNING`. `restarts` is how often it has been requeued so far: a requeued job that is still COMPLETING here shows
    the next count already. `node_list` is a host list as Slurm writes it, in rank order: `n[1-3]`. `name` and
    `comment` are the user's free text.
    """

    id: int
    array: int | None = None
    task: int | None = None
    uid: int
    user: str
    state: str
    is_batch: bool
    is_requeueable: bool
    restarts: int
    nodes: int
    node_list: str
    admin_comment: str = ""
    name: str = ""
    comment: str = ""

    @property
    def ref(self) -> str:
        """How Slurm has to be told this job: the number of an array's last task means the whole array to it."""
        return str(self.id) if self.array is None else f"{self.array}_{self.task}"

    @property
    def is_running(self) -> bool:
        return self.state in RUNNING

    @property
    def life(self) -> int:
        """Which life of the job this is: the restart count with which its Prolog began it."""
        return self.restarts
