"""Stops a job where it is, or lets it go on, as the agent of its node: python -m tests.fakes.freezing VERB JOB UID."""

import asyncio
import sys

from agent.processes import SystemProcesses
from agent.slurm.command import Scontrol
from agent.slurm.freeze import Processes


def main(verb: str, job: str, uid: str) -> None:
    processes = Processes(scontrol=Scontrol(SystemProcesses(), "/usr/bin/scontrol"))
    asyncio.run(getattr(processes, verb)(int(job), uid=int(uid)))


if __name__ == "__main__":
    main(*sys.argv[1:])
