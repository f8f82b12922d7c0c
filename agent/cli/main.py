"""The command `hpc-agent`: which command, and what its end means to the shell."""

import argparse
import gc
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Final

from agent import __version__
from agent.cli.exits import Exit
from agent.cli.output import note
from agent.errors import AgentError

COMMANDS: Final = {
    "run": "the daemon, in the foreground",
    "status": "what the daemon does, in one glance",
    "checkpoint": "save the scratch now",
    "checkpoints": "list what can be restored",
    "restore": "bring back a checkpoint",
    "verify": "check a checkpoint against what is stored",
    "evacuate": "act as if this node had been given notice (root)",
    "cancel": "withdraw the notice of `evacuate` (root)",
    "doctor": "what is wrong with this node before a notice finds it",
    "config": "the settings in force, and where each came from",
    "prolog": "bring back a requeued job's files (called by Slurm)",
    "epilog": "keep the node until a job's files are saved (called by Slurm)",
    "demo": "the whole story on this machine",
}
_NAME: Final = "hpc-agent"
_OBJECTS: Final = 20_000
"""How many more there are before the collector looks for cycles: 700 have it look all the time and find nothing."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command in `argv` and return its exit code."""
    try:
        arguments = _parsed(list(sys.argv[1:] if argv is None else argv))
        code = int(arguments.run(arguments))
        sys.stdout.flush()
    except AgentError as error:
        note(str(error))
        return error.exit_code
    except KeyboardInterrupt:
        return Exit.INTERRUPTED
    except BrokenPipeError:
        # Whoever read our output has gone; at exit Python would flush it again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return Exit.FAILED
    return code


def _parsed(argv: list[str]) -> argparse.Namespace:
    gc.disable()  # while modules load, which stay
    try:
        return _parser(argv).parse_args(argv)
    finally:
        gc.freeze()
        gc.set_threshold(_OBJECTS)
        gc.enable()


def _parser(argv: Sequence[str]) -> argparse.ArgumentParser:
    # Only the command that is asked for is imported: a parser of all of them would cost `status` its speed.
    about = "Saves the work of a Slurm node on AWS."
    parser = argparse.ArgumentParser(prog=_NAME, description=about, allow_abbrev=False)
    parser.add_argument("--version", action="version", version=f"{_NAME} {__version__}")
    # With its name argparse need not ask a formatter of help for it, which imports half of the library.
    commands = parser.add_subparsers(prog=_NAME, metavar="COMMAND [OPTIONS]", required=True)
    if argv and argv[0] in COMMANDS:
        _fill(_added(commands, argv[0]), argv[0])
    else:
        for command in COMMANDS:
            _added(commands, command)
    return parser


def _added(commands: "argparse._SubParsersAction[argparse.ArgumentParser]", command: str) -> argparse.ArgumentParser:
    return commands.add_parser(command, help=COMMANDS[command], description=COMMANDS[command], allow_abbrev=False)


def _fill(parser: argparse.ArgumentParser, command: str) -> None:
    module = import_module(f"agent.cli.{command}")
    parser.add_argument("--config", type=Path, metavar="FILE", help="settings (default: /etc/hpc-agent/config.toml)")
    module.arguments(parser)
    parser.set_defaults(run=module.run)
