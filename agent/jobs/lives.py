"""Which life of a job this node has, as its Prolog wrote it down: a file a job, `<restart count> <list of nodes>`.

Slurm itself is no witness while a job ends: its restart count is the next life's already, and its list of nodes loses
each node whose Epilog is over (22.05), and with it what tells the ranks.
"""

from dataclasses import dataclass
from pathlib import Path
from re import ASCII, fullmatch
from typing import Final, Self

from agent.value import value

FOLDER: Final = "lives"
"""Beside the control socket."""
LONGEST: Final = 4096
"""Characters that are read of one."""


@value
class Life:
    """`number` is how often the job had been requeued when it began; `node_list` is in rank order: `n[1-3]`."""

    number: int
    node_list: str

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """Read what the Prolog wrote; None for what is not that."""
        match = fullmatch(r"(\d{1,9}) (\S+)\n", text, ASCII)
        return None if match is None else cls(number=int(match[1]), node_list=match[2])


@dataclass(frozen=True, slots=True)
class Lives:
    """The lives that began on this node and have not ended; `folder` is in memory, root's."""

    folder: Path

    def of(self, job: int) -> Life | None:
        """Return the life of a job by its raw number; None where no Prolog of ours began it."""
        try:
            with (self.folder / str(job)).open(errors="replace") as file:
                return Life.parse(file.read(LONGEST))
        except OSError:
            return None
