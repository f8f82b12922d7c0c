"""`hpc-agent cancel`: withdraw the notice of `hpc-agent evacuate`."""

import argparse
import os

from agent.cli import socket
from agent.cli.exits import Exit
from agent.cli.output import note


def arguments(parser: argparse.ArgumentParser) -> None:
    del parser


def run(chosen: argparse.Namespace) -> int:
    answer = socket.ask(socket.place(chosen.config, os.environ), {"op": "cancel"})
    stood = answer["result"]["cancelled"]
    note("the notice is withdrawn; a drain of ours is lifted if no other stands" if stood else "there was no notice")
    return Exit.DONE
