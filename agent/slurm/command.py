"""Slurm's commands as child processes: questions, updates, and what their failures mean."""

import re
from pathlib import PurePath

from agent.errors import AgentError
from agent.processes import ChildMissing, ChildTimedOut, Finished, Processes
from agent.slurm.errors import SlurmRefused, SlurmUnavailable

TIME_LIMIT = 10.0
"""Seconds for one child. A dead controller takes scontrol MessageTimeout - 1 s, one behind dropped packets 3 times
MessageTimeout (10 s by default, 60 s on ParallelCluster): waiting that long gains nothing over asking again."""

_RUN_AS_ROOT = "the agent has to run as root"
_CHECK_NAME = "is node.name the NodeName of slurm.conf? It is case sensitive"
REFUSALS = {
    r"Invalid user id$": _RUN_AS_ROOT,
    r"Access/permission denied$": _RUN_AS_ROOT,
    r"Invalid node name specified$": _CHECK_NAME,
    r"^Node \S+ not found$": _CHECK_NAME,
    r"^You must specify a reason": "",
    r"^Request aborted$": "",
    r"Invalid job id specified": "",
    r"Requested operation is presently disabled": "",
    r"Only batch jobs are accepted": "",
}
"""What trying again does not change, as scontrol 22.05 and 24.11 print it, and what a person can do.
Every other failure is worth another try: a refusal that is not known as one costs a few calls, the reverse a drain.
"Invalid node state specified" is not among them: it depends on the state that the node is in just now."""


class Command:
    """Runs one of Slurm's programs, never longer than `seconds` a time; a child that is stuck is abandoned.

    Its exit code is not the truth: after a time-out the controller may still do what it was told. Whoever changes
    something reads it back.
    """

    def __init__(self, processes: Processes, binary: str, *, conf: str = "", seconds: float = TIME_LIMIT) -> None:
        self._processes = processes
        self.binary = binary
        self._seconds = seconds
        self._conf = conf
        # A user-chosen format would hide where a reason ends and its date begins.
        self._env = {"SLURM_TIME_FORMAT": "standard"} | ({"SLURM_CONF": conf} if conf else {})

    async def run(self, *arguments: str) -> str:
        """Run the program with these arguments and return what it printed. Raises SlurmUnavailable, SlurmRefused."""
        name, said = PurePath(self.binary).name, " ".join(arguments[:2])
        try:
            done = await self._processes.run([self.binary, *arguments], seconds=self._seconds, env=self._env)
        except ChildTimedOut as error:
            raise SlurmUnavailable(name, said, error.detail) from error
        except ChildMissing as error:
            # Its file system can be away for a while; the drain is tried again until the deadline.
            raise SlurmUnavailable(name, said, error.detail, hint=f"can {self.binary} be run?") from error
        if done.code != 0:
            raise _failure(name, said, done)
        return done.out


class Scontrol(Command):
    """scontrol, and the way to the programs that lie beside it."""

    def beside(self, program: str) -> Command:
        """Return another of Slurm's programs, of the same installation."""
        binary = str(PurePath(self.binary).with_name(program))
        return Command(self._processes, binary, conf=self._conf, seconds=self._seconds)

    async def show_node(self, name: str) -> str:
        """Return the one-line record of a node. Raises SlurmUnavailable, SlurmRefused."""
        return await self.run("show", "node", "-o", name)

    async def show_nodes(self) -> str:
        """Return the one-line records of all nodes. Raises SlurmUnavailable, SlurmRefused."""
        return await self.run("show", "node", "-o")

    async def show_config(self) -> str:
        """Return the controller's configuration. Raises SlurmUnavailable, SlurmRefused."""
        return await self.run("show", "config")

    async def update_node(self, name: str, **settings: str) -> None:
        """Change `State` and the like of a node. Raises SlurmUnavailable, SlurmRefused; it may be done even so."""
        await self.run("update", f"NodeName={name}", *(f"{key}={value}" for key, value in settings.items()))


def _failure(name: str, said: str, done: Finished) -> AgentError:
    text = done.err.strip() or done.out.strip() or f"exit code {done.code}"
    for refusal, hint in REFUSALS.items():
        if re.search(refusal, text, re.MULTILINE):
            return SlurmRefused(name, said, text.splitlines()[0], hint=hint)
    return SlurmUnavailable(name, said, text.splitlines()[-1])
