"""`hpc-agent status`: what the daemon does, for any user on the node, in one glance."""

import argparse
import os

from agent.cli import socket
from agent.cli.exits import Exit
from agent.cli.glance import glance
from agent.cli.output import document, say
from agent.clock import SystemClock


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="the whole document (docs/interfaces.md)")


def run(chosen: argparse.Namespace) -> int:
    status = socket.ask(socket.place(chosen.config, os.environ), {"op": "status"})
    if chosen.json:
        document(status)
    else:
        say(glance(status, SystemClock().now()))
    return Exit.DONE
