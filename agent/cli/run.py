"""`hpc-agent run`: the daemon, in the foreground."""

import argparse
import os


def arguments(parser: argparse.ArgumentParser) -> None:
    del parser


def run(chosen: argparse.Namespace) -> int:
    from agent.daemon import lifecycle
    from agent.settings import load

    return lifecycle.run(load(chosen.config, os.environ))
