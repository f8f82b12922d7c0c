"""`hpc-agent copier`: what the daemon starts when there is something to copy. Not for people."""

import argparse
from pathlib import Path


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--descriptor", type=int, required=True)
    parser.add_argument("--parent", type=int, required=True)
    parser.add_argument("--nice", type=int, default=0)
    parser.add_argument("--cgroup", type=Path)


def run(chosen: argparse.Namespace) -> int:
    from agent.copier.main import main

    return main(
        config=chosen.config,
        descriptor=chosen.descriptor,
        parent=chosen.parent,
        niceness=chosen.nice,
        group=chosen.cgroup,
    )
