"""A real Slurm cluster on one machine: every node in namespaces of its own, nothing on the host changed.

A node looks like a production host from inside: its own address, host name, 169.254.169.254, /scratch, munged, slurmd
and /etc/slurm/slurm.conf, over a copy-on-write image of the host's root. Needs root and the distribution's packages.
"""

import contextlib
import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from agent.demo.cluster_config import HEAD, address, hosts, slurm_conf
from agent.demo.cluster_process import NodeProcess
from agent.errors import TransientError

SCRIPT = Path(__file__).with_name("node.sh")
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
PROGRAMS = {
    "slurmctld": "slurmctld",
    "slurmd": "slurmd",
    "scontrol": "slurm-client",
    "munged": "munge",
    "ip": "iproute2",
    "unshare": "util-linux",
    "nsenter": "util-linux",
    "setpriv": "util-linux",
}

ABSENT = {"UNKNOWN", "DOWN", "FUTURE", "NOT_RESPONDING"}


class ClusterFailed(TransientError):
    """The lab did not come up, or a node of it did not."""


class Cluster:
    """A head node (slurmctld, 10.99.0.1) and `n1`..`nN` (slurmd). Made by `up`; a context manager; not thread safe.

    `shared` on the host is /shared in every node; nothing else of a node's /tmp, /run, /dev and /scratch is the host's.
    When the driving process dies, however it does, a keeper ends and removes everything.
    """

    def __init__(self, directory: Path, nodes: int, environment: Mapping[str, str]) -> None:
        self.directory = directory
        self.shared = directory / "shared"
        self.nodes = tuple(f"n{number}" for number in range(1, nodes + 1))
        self._run = directory / "run"
        self._environment = dict(environment)
        self._machines: dict[str, subprocess.Popen[bytes]] = {}
        self._commands: list[NodeProcess] = []
        self._keeper: subprocess.Popen[bytes] | None = None

    @staticmethod
    def available() -> str:
        """Return "" when a cluster can run on this machine, else the reason in one line."""
        if os.geteuid() != 0:
            return "not root"
        missing = sorted({package for name, package in PROGRAMS.items() if not shutil.which(name, path=PATH)})
        if missing:
            return f"packages are missing: {' '.join(missing)}"
        probe = subprocess.run(["bash", str(SCRIPT), "probe"], capture_output=True, text=True, check=False, timeout=30)
        if probe.returncode != 0:
            return f"no namespaces or overlay mounts here: {_last_line(probe.stderr)}"
        return ""

    @classmethod
    def up(
        cls,
        directory: Path,
        nodes: int,
        *,
        extra_conf: str = "",
        scratch: str = "256m",
        cpus: int = 4,
        binds: Sequence[Path] = (),
        slurmd: bool = True,
    ) -> Self:
        """Start the head and `nodes` nodes under `directory` (made when missing); return when all are idle.

        `extra_conf`: lines of slurm.conf, replacing ours of the same key. `scratch`: size of each /scratch. `binds`:
        more paths of the host to show to the nodes. `slurmd=False` leaves the nodes without one. Raises ClusterFailed.
        """
        environment = {
            "PATH": PATH,
            "LAB_SCRATCH": scratch,
            "LAB_BINDS": "\n".join(str(path) for path in [*hidden_paths(), *binds]),
        }
        cluster = cls(directory.resolve(), nodes, environment)
        try:
            cluster._prepare(slurm_conf(cluster.nodes, extra_conf, cpus=cpus))
            cluster._start((HEAD, *cluster.nodes), slurmd=slurmd)
            if slurmd:
                cluster.settle()
        except BaseException:
            cluster.down()
            raise
        return cluster

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.down()

    def command(
        self, node: str, argv: Sequence[str], *, user: str = "", env: Mapping[str, str] | None = None, cwd: str = "/"
    ) -> list[str]:
        """Return the argument list that runs `argv` in `node`, in a clean environment, as root or as `user`.

        It dies with the process that runs it. Raises ClusterFailed when there is no such node now.
        """
        if node not in self._machines:
            raise ClusterFailed("enter", node, "no such node is running")
        target = (self._run / f"{node}.pid").read_text().strip()
        become = ["--reuid", user, "--regid", user, "--init-groups"] if user else []
        variables = {"PATH": PATH, "HOME": "/shared/home" if user else "/root", "LANG": "C.UTF-8", **(env or {})}
        return [
            *("nsenter", "-t", target, "-m", "-n", "-p", "-u", "-i", "-C", "-r", "-w", "--"),
            *("env", "-i", "-C", cwd, *(f"{name}={value}" for name, value in variables.items())),
            *("setpriv", *become, "--pdeathsig", "KILL", "--", *argv),
        ]

    def popen(
        self,
        node: str,
        argv: Sequence[str],
        *,
        user: str = "",
        env: Mapping[str, str] | None = None,
        cwd: str = "/",
        stdin: int | IO[str] | None = None,
        stdout: int | IO[str] | None = None,
        stderr: int | IO[str] | None = None,
    ) -> NodeProcess:
        """Start `argv` in `node`; stdin is empty unless given. It ends with the node at the latest."""
        command = self.command(node, argv, user=user, env=env, cwd=cwd)
        process = NodeProcess(command, stdin=stdin, stdout=stdout, stderr=stderr)
        self._commands.append(process)
        return process

    def run(
        self,
        node: str,
        argv: Sequence[str],
        *,
        user: str = "",
        env: Mapping[str, str] | None = None,
        cwd: str = "/",
        timeout: float = 30,
        check: bool = False,
    ) -> subprocess.CompletedProcess[str]:
        """Run `argv` in `node` and return what it printed.

        Raises subprocess.TimeoutExpired (the command is killed) and, with `check`, subprocess.CalledProcessError.
        """
        command = self.command(node, argv, user=user, env=env, cwd=cwd)
        with NodeProcess(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            try:
                out, err = process.communicate(timeout=timeout)
            except BaseException:
                process.kill()
                raise
        done = subprocess.CompletedProcess(list(argv), process.returncode, out, err)
        if check:
            done.check_returncode()
        return done

    def address(self, node: str) -> str:
        """Return the node's address in the cluster's network."""
        return address(node)

    def inside(self, node: str, path: str) -> Path:
        """Return where an absolute path of a running node can be read from the host (its links are the host's)."""
        target = (self._run / f"{node}.pid").read_text().strip()
        return Path(f"/proc/{target}/root{path}")

    def kill(self, node: str) -> None:
        """Do what EC2 does at the end: everything in the node dies at once, its network and /scratch are gone."""
        machine = self._machines.pop(node)
        os.kill(int((self._run / f"{node}.pid").read_text()), signal.SIGKILL)
        machine.wait(timeout=30)
        for left in ("pid", "ready"):
            (self._run / f"{node}.{left}").unlink(missing_ok=True)
        if node != HEAD:
            self.run(HEAD, ["ip", "link", "del", f"v{node}"])

    def boot(self, node: str, *, slurmd: bool = True) -> None:
        """Start a killed node again, as a new instance of the same name: fresh root, empty /scratch."""
        self._start((node,), slurmd=slurmd)

    def start_slurmd(self, node: str) -> None:
        """Start the slurmd of a node that was booted without one."""
        self.run(node, ["slurmd", "-N", node], check=True)

    def settle(self) -> None:
        """Wait until every node has registered with slurmctld and answers it. Raises ClusterFailed after 30 s."""
        # First without questions that scontrol repeats only every second.
        self._until(self._controller_answers, "slurmctld", seconds=30)
        self._until(self._all_registered, "nodes registered", seconds=30, every=0.05)

    def node_state(self, node: str) -> str:
        """Return what `scontrol show node -o` prints for the node, asked on the head."""
        return self.run(HEAD, ["scontrol", "show", "node", "-o", node]).stdout

    def controller_stop(self, *, crash: bool = False) -> None:
        """End slurmctld: its host refuses connections from now on. After a `crash` its latest changes may be lost."""
        pid = self._signal_controller("KILL" if crash else "TERM")
        gone = f"while kill -0 {pid} 2>/dev/null; do sleep 0.01; done"
        self.run(HEAD, ["sh", "-c", gone], check=True)

    def controller_start(self) -> None:
        """Start slurmctld again after `controller_stop`; return when it answers; nodes register later (`settle`)."""
        slurm = ("setpriv", "--reuid", "slurm", "--regid", "slurm", "--init-groups")
        self.run(HEAD, [*slurm, "slurmctld", "-i"], check=True)
        self._until(self._controller_answers, "slurmctld", seconds=30, every=0.05)

    def controller_freeze(self) -> None:
        """Hang slurmctld: it accepts connections, answers nothing, and acts on what it was sent once thawed."""
        self._signal_controller("STOP")

    def controller_thaw(self) -> None:
        """Let a frozen slurmctld go on."""
        self._signal_controller("CONT")

    def log(self, name: str) -> str:
        """Return a log so far: `slurmctld`, `slurmd-n1`, `munged-n1`, `init-n1`."""
        parts = sorted((self.shared / "log").glob(f"{name}.*"))
        return "".join(part.read_text(errors="replace") for part in parts)

    def down(self) -> None:
        """End every process of every node and remove every trace; return when it is done. Can be called again."""
        if self._keeper is None:
            return
        keeper, self._keeper = self._keeper, None
        assert keeper.stdin is not None
        keeper.stdin.close()
        keeper.wait(timeout=60)
        for machine in self._machines.values():
            machine.wait(timeout=10)
        for process in self._commands:
            process.wait(timeout=10)
            for pipe in (process.stdin, process.stdout, process.stderr):
                if pipe is not None:
                    with contextlib.suppress(BrokenPipeError):
                        pipe.close()
        self._machines.clear()
        self._commands.clear()

    def _prepare(self, conf: str) -> None:
        for folder in (self._run, self.directory / "root", self.shared / "log", self.shared / "home"):
            folder.mkdir(parents=True)
        self._run.chmod(0o700)
        (self.shared / "log").chmod(0o1777)
        os.chown(self.shared / "home", 4242, 4242)
        (self._run / "munge.key").write_bytes(secrets.token_bytes(128))
        (self._run / "slurm.conf").write_text(conf)
        (self._run / "hosts").write_text(hosts(self.nodes))
        self._keeper = subprocess.Popen(
            ["bash", str(SCRIPT), "keep", str(self.directory)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            env=self._environment,
            start_new_session=True,
            cwd="/",
        )
        self._until((self._run / "hold.pid").exists, "the keeper", seconds=10)

    def _start(self, names: Sequence[str], *, slurmd: bool) -> None:
        self._machines.update({name: self._power_on(name, slurmd=slurmd) for name in names})
        for name in names:
            self._until(lambda name=name: self._is_ready(name), name, seconds=20)  # type: ignore[misc]

    def _power_on(self, name: str, *, slurmd: bool) -> subprocess.Popen[bytes]:
        hold = (self._run / "hold.pid").read_text().strip()
        with (self.shared / "log" / f"init-{name}.log").open("ab") as log:
            return subprocess.Popen(
                [
                    "nsenter",
                    "-t",
                    hold,
                    "-p",
                    "--",
                    "bash",
                    str(SCRIPT),
                    "boot",
                    str(self.directory),
                    name,
                    address(name),
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**self._environment, "LAB_SLURMD": str(int(slurmd))},
                start_new_session=True,
                cwd="/",
            )

    def _is_ready(self, name: str) -> bool:
        if self._machines[name].poll() is not None:
            raise ClusterFailed("boot", name, _last_line(self.log(f"init-{name}")))
        ready = self._run / f"{name}.ready"
        return ready.exists() and ready.stat().st_size > 0

    def _all_registered(self) -> bool:
        records = self.run(HEAD, ["scontrol", "show", "node", "-o"]).stdout
        states = [set(state.split("+")) for state in re.findall(r"^NodeName=.*? State=(\S+)", records, re.MULTILINE)]
        return len(states) == len(self.nodes) and not any(state & ABSENT for state in states)

    def _controller_answers(self) -> bool:
        return "is UP" in self.run(HEAD, ["scontrol", "ping"]).stdout

    def _signal_controller(self, name: str) -> str:
        pid = self.inside(HEAD, "/run/slurmctld/slurmctld.pid").read_text().strip()
        self.run(HEAD, ["kill", "-s", name, pid], check=True)
        return pid

    def _until(self, reached: Callable[[], bool], what: str, *, seconds: float, every: float = 0.01) -> None:
        limit = time.monotonic() + seconds
        while not reached():
            if time.monotonic() > limit:
                raise ClusterFailed("wait for", what, f"not there after {seconds:g} s", hint=self._last_words())
            time.sleep(every)

    def _last_words(self) -> str:
        logs = sorted((self.shared / "log").iterdir())
        return "; ".join(f"{log.name}: {_last_line(log.read_text(errors='replace'))}" for log in logs)


def hidden_paths() -> list[Path]:
    """Return where this program lives, as far as a node would not see it through its image of the host's root."""
    own = {Path(sys.prefix), Path(sys.base_prefix), SCRIPT.parents[2]}
    covered = (Path("/tmp"), Path("/run"), Path("/dev"), Path("/scratch"), Path("/shared"))  # noqa: S108 - not written
    root = Path("/").stat().st_dev
    return sorted(p for p in own if p.stat().st_dev != root or any(p.is_relative_to(place) for place in covered))


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or ["no output"])[-1]
