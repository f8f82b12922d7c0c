"""`hpc-agent demo`: the whole story on this machine."""

import argparse


def arguments(parser: argparse.ArgumentParser) -> None:
    from agent.demo.story import arguments as add

    add(parser)


def run(chosen: argparse.Namespace) -> int:
    from agent.demo.story import main

    return main(chosen)
