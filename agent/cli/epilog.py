"""`hpc-agent epilog`: keeps Slurm's Epilog, and with it the node, until a job's files are saved. Called by the Epilog.

The daemon knows how long that may take, and Slurm's own limits. Always ends with 0: an Epilog that fails drains the
node, for good.
"""

import argparse
import os
import signal
from pathlib import Path
from typing import Final

from agent.cli import socket
from agent.cli.exits import Exit
from agent.cli.output import note
from agent.errors import AgentError
from agent.jobs.lives import FOLDER, Lives

SILENCE: Final = 30.0
"""Seconds without a line of the daemon's after which it is taken for dead; it says every few that it is not."""
LONGEST: Final = 1800
"""Seconds after which this process is ended whatever happens."""


def arguments(parser: argparse.ArgumentParser) -> None:
    del parser


def run(chosen: argparse.Namespace) -> int:
    job, life = os.environ.get("SLURM_JOB_ID", ""), os.environ.get("SLURM_JOB_RESTART_COUNT", "")
    if not job.isdecimal():
        note("not called by Slurm's Epilog: there is no SLURM_JOB_ID")
        return Exit.DONE
    signal.alarm(LONGEST)
    try:
        place = socket.place(chosen.config, os.environ)
        request = {"op": "epilog", "job": int(job), "life": int(life) if life.isdecimal() else None}
        began = Lives(Path(place).parent / FOLDER).of(int(job))
        request["began"] = None if began is None else began.number
        for answer in socket.follow(place, request, seconds=SILENCE):
            if "result" in answer:
                break
    except AgentError as error:
        note(str(error))
    finally:
        signal.alarm(0)
    return Exit.DONE
