"""`hpc-agent prolog`: before a requeued job starts on this node, its files come back. Called by Slurm's Prolog.

It never fails: a Prolog that fails drains the node. What came of it is in the journal, and in a file that the task
prolog turns into HPC_AGENT_RESTORE.
"""

import argparse
import os
import signal
import syslog
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from agent.cli import socket
from agent.cli.exits import Exit
from agent.cli.output import note
from agent.errors import AgentError
from agent.jobs.choice import Result
from agent.jobs.start import JobStart
from agent.printable import printable

ENVIRONMENT: Final = Path("/etc/hpc-agent/environment")
"""What systemd gives the daemon: the settings may be there."""
FOLDER: Final = "restore"
COUNTING: Final = 1.0
"""Seconds for the daemon to count it in its metrics. A node may have none."""
HANGING: Final = 600
"""Seconds after which a process that hangs in the kernel or elsewhere is ended, whatever it does."""


def arguments(parser: argparse.ArgumentParser) -> None:
    del parser


def run(chosen: argparse.Namespace) -> int:
    began = time.monotonic()
    environ = os.environ
    environ.update({name: value for name, value in environment(ENVIRONMENT).items() if name not in environ})
    try:
        start = JobStart.read(environ)
    except ValueError as error:
        note(f"not called by Slurm's Prolog: {error}")
        return Exit.DONE
    if start.life == 0:
        return Exit.DONE
    signal.alarm(HANGING)
    try:
        from agent.cli.requeued import come_home

        result, said = come_home(start, chosen.config, environ, began=began)
        is_short = result in {Result.OLDER, Result.PARTIAL}
    except AgentError as error:
        result, said, is_short = Result.NONE, str(error), True
    finally:
        signal.alarm(0)
    tell(f"job {start.id}: restore {result}: {said}", syslog.LOG_WARNING if is_short else syslog.LOG_NOTICE)
    try:
        place = socket.place(chosen.config, environ)
        leave(Path(place).parent / FOLDER, start.id, result)
    except (OSError, AgentError) as error:
        tell(f"job {start.id} is not told: {error}", syslog.LOG_WARNING)
        return Exit.DONE
    try:
        socket.ask(place, {"op": "restored", "result": result}, seconds=COUNTING)
    except AgentError as error:
        note(f"not counted: {error}")
    return Exit.DONE


def tell(sentence: str, priority: int) -> None:
    """Say it where the operator looks: Slurm throws away what a Prolog prints."""
    note(sentence)
    syslog.openlog("hpc-agent")
    syslog.syslog(priority, " ".join(printable(sentence).split()))


def leave(folder: Path, job: int, result: Result) -> None:
    """Write the result where the task prolog finds it. Raises OSError."""
    folder.mkdir(mode=0o755, exist_ok=True)
    fresh = folder / f"{job}.new"
    fresh.write_text(f"{result}\n")
    fresh.chmod(0o644)
    fresh.replace(folder / str(job))


def environment(file: Path) -> Mapping[str, str]:
    """Read a file as systemd's EnvironmentFile= does, without its finer points; {} when there is none."""
    try:
        lines = file.read_text().splitlines()
    except OSError:
        return {}
    pairs = (line.partition("=") for line in map(str.strip, lines) if "=" in line and line[0] not in "#;")
    return {name.strip(): value.strip().strip("\"'") for name, _, value in pairs}
