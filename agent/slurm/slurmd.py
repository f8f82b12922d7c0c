"""The slurmd that runs on this machine, seen in /proc: where it lies and which node it says it is.

Only root's counts: any user can name a process `slurmd`, and what lies beside it would be run as root.
"""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from agent.value import value

_TAKE_VALUE = "dfFLn"
"""slurmd's other short options with a value (getopt "bcCd:Df:F::GhL:Mn:N:svVZ", 22.05 to 25.11)."""


@value
class Slurmd:
    """A running slurmd. `program` is "" where that is not known; `node` is what its -N names, "" without one."""

    program: str
    node: str


def running(proc: Path) -> list[Slurmd]:
    """Return every slurmd under `proc` (blocking); what ends while we look is left out."""
    return sorted(_found(proc), key=lambda slurmd: (slurmd.program, slurmd.node))


def node_option(argv: Sequence[str]) -> str:
    """Return the value of -N in slurmd's command line, "" when it has none: `-N n1`, `-Nn1`, `-DN n1`."""
    words = iter(argv[1:])
    for word in words:
        if not word.startswith("-") or word.startswith("--"):
            continue
        letters = word[1:]
        while letters:
            letter, letters = letters[0], letters[1:]
            if letter == "N":
                return letters or next(words, "")
            if letter in _TAKE_VALUE:
                if not letters and letter != "F":
                    next(words, None)
                break
    return ""


def _found(proc: Path) -> Iterator[Slurmd]:
    for process in proc.glob("[0-9]*"):
        try:
            # The name first: reading a command line can wait for a process that is stuck.
            if (process / "comm").read_text().strip() != "slurmd" or not _is_ours(process):
                continue
            argv = (process / "cmdline").read_bytes().decode(errors="replace").rstrip("\0").split("\0")
        except OSError:
            continue
        if argv != [""]:
            yield Slurmd(program=_program(process, argv[0]), node=node_option(argv))


def _is_ours(process: Path) -> bool:
    """Tell whether it has been root's, or ours, from the beginning: not what a user began and a set-uid bit raised."""
    lines = (process / "status").read_text(errors="replace").splitlines()
    uids = next((line.split()[1:] for line in lines if line.startswith("Uid:")), ["-1"])
    return {int(uid) for uid in uids} <= {0, os.geteuid()}


def _program(process: Path, called: str) -> str:
    """Return its path. The kernel does not tell one who may less than slurmd may, as the daemon in its unit."""
    try:
        return str((process / "exe").readlink()).removesuffix(" (deleted)")
    except OSError:
        return called if called.startswith("/") else ""
