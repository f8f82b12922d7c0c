"""What the story is played on: two nodes and what surrounds them, real Slurm or not."""

import json
import socket
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final, Protocol, Self

from agent.errors import TransientError

JOB: Final = Path(__file__).with_name("job.sh")
DOOMED: Final = "n1"
"""The node that EC2 takes away; the files come back on OTHER."""
OTHER: Final = "n2"
INSTANCES: Final = {DOOMED: "i-0123456789abcdef0", OTHER: "i-0fedcba9876543210"}


class SceneFailed(TransientError):
    """Something did not come about that the story needs."""


class Scene(Protocol):
    """One machine playing a cluster. Everything it made is gone when its context ends."""

    @property
    def cast(self) -> Sequence[str]:
        """Lines that say what is real and what is played."""

    @property
    def logs(self) -> Sequence[Path]:
        """The files and directories where everyone writes their logs."""

    @property
    def target(self) -> str:
        """What to call the scratch of OTHER."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...

    def set_up(self, megabytes: int) -> None:
        """Start nodes, IMDS, S3 and agents; each scratch has room for `megabytes` and some."""

    def work(self, files: int, megabytes: int) -> str:
        """Start a job on DOOMED that fills its scratch; return how to call it once the files are there."""

    def notice(self, seconds: int) -> tuple[float, float]:
        """Let EC2 announce the end of DOOMED; return when that appeared and when the end is (monotonic)."""

    def record(self) -> str:
        """Return what `scontrol show node` says of DOOMED."""

    def status(self) -> dict[str, Any] | None:
        """Return the status of the agent on DOOMED, None when it does not answer."""

    def kill(self) -> str:
        """Take DOOMED away as EC2 does; return what is gone with it."""

    def scratch(self, node: str) -> Path:
        """Return where the scratch of a node can be read from here."""

    def restore(self, options: Sequence[str], *, live: bool) -> tuple[int, str]:
        """Restore on OTHER; return exit code and output. `live` leaves the progress to the terminal."""


class Curtain:
    """A context whose end undoes, in reverse, what was pushed on `undo`."""

    def __init__(self) -> None:
        self.undo = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.undo.close()


def ask_status(path: Path) -> dict[str, Any] | None:
    """Return the status document that is served at the socket `path`, None when nobody does."""
    try:
        with socket.socket(socket.AF_UNIX) as line:
            line.settimeout(5)
            line.connect(str(path))
            line.sendall(b'{"op": "status"}\n')
            answer: dict[str, Any] = json.loads(line.makefile("rb").readline())
    except (OSError, ValueError):
        return None
    return answer
