"""What saving and restoring cost, this engine beside the tools that people use: `make bench`.

Four workloads over TLS to a server of this machine; the clients take turns, so that what else the machine does meets
all of them. CPU seconds of the client are the figure to trust: wall is shared with the server on the same cores.
"""

import argparse
import asyncio
import compileall
import contextlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import aioboto3

import agent
from tests.measure import disk, idle, scan, sink
from tests.measure.authority import Authority, make
from tests.measure.clients import BUCKET, CLIENTS, REGION, TOOLS, Client, missing
from tests.measure.table import Series, table, wall_ratios
from tests.measure.usage import Cost
from tests.measure.workloads import WORKLOADS, Workload

DOCUMENT = Path(__file__).parents[2] / "docs/performance.md"
BEGIN, END = "<!-- make bench writes from here -->", "<!-- to here -->"
ROUNDS = 3
QUICK = 200
"""How many times smaller the workloads of --quick are."""
FAR_MS = 30
FAR = "W3"
FAR_TARGETS = {"s5cmd": 5.0, "aws s3 sync": 30.0}


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """What was asked for, and where it happens: `work` for trees, `disk` for what is restored, `data` for SeaweedFS."""

    work: Path
    disk: Path
    data: Path
    authority: Authority
    clients: Sequence[Client]
    rounds: int

    def save(self, workload: Workload, server: sink.Server) -> list[Series]:
        """Save the tree of a workload with every client by turns."""
        tree = self._tree(workload)
        costs: dict[str, list[Cost]] = {client.name: [] for client in self.clients}
        for number in range(self.rounds):
            for client in self.clients:
                note(f"save {workload.name} round {number + 1}: {client.name}")
                server.counts()
                costs[client.name].append(client.save(tree, server, f"save/{workload.name}/{number}", self.work))
                sent = server.counts()["bytes"]
                assert sent >= workload.bytes, f"{client.name} sent {sent} bytes of {workload.bytes}"
        shutil.rmtree(tree)
        return [_series("save", workload, name, each) for name, each in costs.items()]

    def restore(self, workload: Workload, server: sink.Server) -> list[Series]:
        """Save the tree once with every client that restores, then have each restore its own by turns, twice.

        The second time counts. A virtual machine may give free memory back to its host, and pay for it again: without
        the first, one client paid for what the other had left, in pieces of another size (W2: 4 s of CPU, or 9).
        """
        tree, clients = self._tree(workload), [client for client in self.clients if hasattr(client, "restore")]
        for client in clients:
            client.save(tree, server, _prefix(client, workload), self.work)
        costs: dict[str, list[Cost]] = {client.name: [] for client in clients}
        for number in range(self.rounds):
            for client in clients:
                note(f"restore {workload.name} round {number + 1}: {client.name}")
                self._restored(client, workload, server)
                costs[client.name].append(self._restored(client, workload, server))
        shutil.rmtree(tree)
        return [_series("restore", workload, name, each) for name, each in costs.items()]

    def far(self, workload: Workload, program: Path) -> list[Series]:
        """Save to a server whose every answer takes a way of 30 ms."""
        with sink.sink(program, self.authority, delay_ms=FAR_MS) as server:
            return self.save(workload, server)

    def _restored(self, client: Client, workload: Workload, server: sink.Server) -> Cost:
        target = self.disk / "restored"
        target.mkdir()
        cost = client.restore(server, _prefix(client, workload), target, self.work)
        found = sum(path.stat().st_size for path in target.rglob("*") if path.is_file())
        assert found == workload.bytes, f"{client.name} restored {found} bytes of {workload.bytes}"
        shutil.rmtree(target)
        return cost

    def _tree(self, workload: Workload) -> Path:
        note(f"making {workload.name}: {workload.files:,} files, {workload.megabytes:,.0f} MB")
        return workload.make(self.work)


def _prefix(client: Client, workload: Workload) -> str:
    return f"restore/{workload.name}/{client.name.replace(' ', '-')}"


def _series(direction: str, workload: Workload, client: str, costs: Sequence[Cost]) -> Series:
    return Series(direction=direction, workload=workload.name, megabytes=workload.megabytes, client=client, costs=costs)


def note(text: str) -> None:
    sys.stderr.write(f"bench: {text}\n")


@contextlib.contextmanager
def prepared(chosen: argparse.Namespace) -> Iterator[Bench]:
    """Make the directories and the certificates; what the servers keep is in memory where there is room."""
    wanted = [name for name in CLIENTS if name in chosen.clients]
    for name in wanted:
        if reason := missing(name):
            raise SystemExit(reason)
    # As the installer does: else each process compiles the agent anew where PYTHONDONTWRITEBYTECODE is set.
    compileall.compile_dir(str(Path(agent.__file__).parent), quiet=1)
    memory = Path("/dev/shm")
    with contextlib.ExitStack() as stack:
        work = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="hpc-agent-bench-", dir=chosen.dir)))
        where = memory if memory.is_dir() else work
        data = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="hpc-agent-bench-", dir=where)))
        yield Bench(
            work=work,
            disk=stack.enter_context(disk.disk(work)),
            data=data,
            authority=make(work),
            clients=[CLIENTS[name] for name in wanted],
            rounds=chosen.rounds,
        )


async def make_bucket(server: sink.Server) -> None:
    session = aioboto3.Session(aws_access_key_id=server.access_key, aws_secret_access_key=server.secret_key)
    where = {"endpoint_url": server.endpoint, "verify": str(server.bundle), "region_name": REGION}
    async with session.client("s3", **where) as s3:
        await s3.create_bucket(Bucket=BUCKET)


def measured(bench: Bench, chosen: argparse.Namespace) -> Iterator[str]:
    """Yield the tables that were asked for, as they come."""
    workloads = [WORKLOADS[name].shrunk(QUICK if chosen.quick else 1) for name in chosen.only]
    program = sink.build(bench.work)
    if chosen.save:
        with sink.sink(program, bench.authority) as server:
            yield "## Save\n\n" + table([one for workload in workloads for one in bench.save(workload, server)])
    if chosen.restore:
        with sink.seaweedfs(bench.data / "weed", bench.authority) as server:
            asyncio.run(make_bucket(server))
            yield "## Restore\n\n" + table([one for workload in workloads for one in bench.restore(workload, server)])
    if chosen.far and FAR in chosen.only:
        far = bench.far(WORKLOADS[FAR].shrunk(QUICK if chosen.quick else 1), program)
        yield f"## Save {FAR}, every answer {FAR_MS} ms late\n\n" + wall_ratios(far, FAR_TARGETS)
    if chosen.scan:
        with sink.seaweedfs(bench.data / "scan", bench.authority) as server:
            asyncio.run(make_bucket(server))
            yield "## A tree that did not change\n\n" + scan.measured(server, bench.work, chosen.scan)
    if chosen.idle:
        yield "## Idle\n\n" + idle.measured(chosen.idle, idle.FILES)


def setting(chosen: argparse.Namespace) -> str:
    """Return what the numbers were got with and on."""
    cpu = next((line.split(":")[1].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")), "?")
    memory = int(_lines("/proc/meminfo")[0].split()[1]) / 1e6
    versions = [f"hpc-agent {agent.__version__}", f"Python {platform.python_version()}"]
    versions += [f"s5cmd {_said('s5cmd', 'version')}", _said("aws", "--version").split()[0].replace("/", " ")]
    return (
        f'`make bench ARGS="{" ".join(chosen.words)}"`, {datetime.now(UTC):%Y-%m-%d}: {", ".join(versions)}; '
        f"{os.cpu_count()} CPUs ({cpu}), {memory:.0f} GB, Linux {platform.release()}, "
        f"load average {os.getloadavg()[2]:.1f} over the last 15 minutes."
    )


def _lines(path: str) -> list[str]:
    return Path(path).read_text().splitlines()


def _said(program: str, *arguments: str) -> str:
    try:
        return subprocess.run([TOOLS / program, *arguments], capture_output=True, text=True, check=True).stdout.strip()
    except OSError:
        return "-"


def written(document: str, text: str) -> str:
    """Return a document with `text` between its marks."""
    before, _, rest = document.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n\n{text}\n\n{END}{after}"


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.measure.bench", description="what saving and restoring cost")
    parser.add_argument("--only", nargs="+", choices=WORKLOADS, default=list(WORKLOADS), help="these workloads")
    parser.add_argument("--clients", nargs="+", choices=CLIENTS, default=list(CLIENTS), help="these clients")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--quick", action="store_true", help=f"workloads {QUICK} times smaller")
    parser.add_argument("--save", action="store_true", help="only saving")
    parser.add_argument("--restore", action="store_true", help="only restoring")
    parser.add_argument("--far", action="store_true", help=f"only saving {FAR} with {FAR_MS} ms to each answer")
    parser.add_argument(
        "--scan", type=int, nargs="?", const=scan.FILES, metavar="FILES", help="only a large tree that did not change"
    )
    parser.add_argument("--idle", type=float, metavar="MINUTES", help="only an agent with nothing to do")
    parser.add_argument("--dir", type=Path, help="where the trees are made, of 5 GB; a temporary directory")
    parser.add_argument("--write", action="store_true", help=f"put the tables into {DOCUMENT.name}")
    return parser


def main(words: Sequence[str]) -> int:
    chosen = arguments().parse_args(words)
    chosen.words = words
    if not any((chosen.save, chosen.restore, chosen.far, chosen.scan, chosen.idle)):
        chosen.save = chosen.restore = chosen.far = True
    if reason := sink.missing():
        raise SystemExit(reason)
    parts = [setting(chosen)]
    with prepared(chosen) as bench:
        for part in measured(bench, chosen):
            sys.stdout.write(part + "\n\n")
            sys.stdout.flush()
            parts.append(part)
    if chosen.write:
        DOCUMENT.write_text(written(DOCUMENT.read_text(), "\n\n".join(parts)))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
