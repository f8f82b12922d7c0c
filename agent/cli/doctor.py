"""`hpc-agent doctor`: what is wrong with this node before a notice finds it."""

import argparse
import asyncio
import os
import platform
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from agent import __version__
from agent.chance import SystemChance
from agent.checkpoint.keys import new_id
from agent.cli import output, socket
from agent.cli.exits import Exit
from agent.clock import SystemClock, stamp
from agent.doctor.checkup import examine
from agent.doctor.finding import Finding, Level, worst
from agent.doctor.report import document, text
from agent.doctor.slurm import Machine
from agent.doctor.threads import ForgettableThreads
from agent.errors import AgentError
from agent.imds.client import ENDPOINT, Imds
from agent.printable import printable
from agent.processes import SystemProcesses
from agent.settings import Settings, load
from agent.slurm.host import Host

DAEMON_SECONDS: Final = 3.0

Told = Callable[[Sequence[str]], None]


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="as a JSON document (docs/interfaces.md)")


def run(chosen: argparse.Namespace) -> int:
    settings = load(chosen.config, os.environ)
    began = time.monotonic()
    told = _silence if chosen.json or not sys.stderr.isatty() else _show
    findings = asyncio.run(_examine(settings, told))
    told(())
    if chosen.json:
        seconds = time.monotonic() - began
        output.document(document(findings, version=__version__, at=stamp(SystemClock().now()), seconds=seconds))
    else:
        print_report(findings, coloured=sys.stdout.isatty() and not os.environ.get("NO_COLOR"))
    return Exit.FAILED if worst(findings) is Level.RED else Exit.DONE


def print_report(findings: Sequence[Finding], *, coloured: bool) -> None:
    """Print the findings; what others worded is made printable before any colour is."""
    safe = [
        Finding(
            name=printable(one.name),
            level=one.level,
            detail=" ".join(printable(one.detail).split()),
            hint=" ".join(printable(one.hint).split()),
        )
        for one in findings
    ]
    sys.stdout.write(text(safe, coloured=coloured) + "\n")


async def _examine(settings: Settings, told: Told) -> list[Finding]:
    clock, chance, processes, executor = SystemClock(), SystemChance(), SystemProcesses(), ForgettableThreads()
    machine = Machine(
        processes=processes,
        host=Host(processes=processes, executor=executor),
        path=os.environ.get("PATH", ""),
        host_name=platform.node(),
    )
    async with Imds(clock=clock, endpoint=settings.aws.metadata_endpoint or ENDPOINT) as imds:
        return await examine(
            settings,
            imds=imds,
            machine=machine,
            executor=executor,
            ask_daemon=lambda: _status(settings),
            probe_id=new_id(clock, chance),
            told=told,
        )


def _status(settings: Settings) -> Mapping[str, Any] | AgentError:
    try:
        return socket.ask(settings.state.socket, {"op": "status"}, seconds=DAEMON_SECONDS)
    except AgentError as error:
        return error


def _silence(_names: Sequence[str]) -> None:
    pass


def _show(names: Sequence[str]) -> None:
    """Say on one line of the terminal what is still looked at; nothing clears it."""
    sys.stderr.write(f"\r\x1b[Klooking at {', '.join(names)[:60]}" if names else "\r\x1b[K")
    sys.stderr.flush()
