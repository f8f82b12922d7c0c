"""`hpc-agent evacuate`: act as if this node had been given notice."""

import argparse
import os

from agent.cli import socket
from agent.cli.exits import Exit
from agent.cli.output import note
from agent.clock import SystemClock, stamp


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--deadline", metavar="TIME", help='when the node goes: "2026-11-23T09:15:00Z", or "10m" from now'
    )


def run(chosen: argparse.Namespace) -> int:
    deadline = None
    if chosen.deadline is not None:
        from agent.cli.times import after

        deadline = stamp(after(chosen.deadline, SystemClock().now()))
    answer = socket.ask(socket.place(chosen.config, os.environ), {"op": "evacuate", "deadline": deadline})
    until = answer["result"]["deadline"]
    note(f"evacuating until {until}; `hpc-agent status` shows how it goes, `hpc-agent cancel` withdraws it")
    return Exit.DONE
