"""The story in plain processes, for machines without root or without Slurm: scontrol is a stand-in here."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from shutil import rmtree
from typing import Any, Final

from agent.demo.imds_control import ImdsControl
from agent.demo.s3 import DemoS3, dying_with_us, free_port
from agent.demo.scene import DOOMED, INSTANCES, JOB, OTHER, Curtain, SceneFailed, ask_status
from agent.demo.stand_in import StandIn

BUCKET: Final = "rescue"
REGION: Final = "us-west-2"
READY_SECONDS: Final = 20.0
JOB_SECONDS: Final = 60.0


class PlainNode:
    """A directory that plays a node: its scratch, its IMDS, its agent."""

    def __init__(self, directory: Path, name: str, *, s3: DemoS3, log: Path) -> None:
        self.name = name
        self.directory = directory
        self.scratch = directory / "scratch"
        self.socket = directory / "agent.sock"
        self._s3 = s3
        self._log = log
        self._control = directory / "imds.sock"
        self._config = directory / "config.toml"
        self._port = free_port("127.0.0.1")
        self.imds = ImdsControl(self._control)
        self._children: list[subprocess.Popen[str]] = []

    def start(self, scontrol: Path) -> None:
        """Start IMDS and agent; return when both answer. Raises SceneFailed."""
        self.scratch.mkdir(parents=True)
        imds = ["-m", "agent.demo.imds", "--port", str(self._port), "--control", str(self._control)]
        self._spawn([sys.executable, *imds, "--instance-id", INSTANCES[self.name], "--region", REGION], "imds")
        self.imds.wait(READY_SECONDS)
        self.imds.credentials(self._s3.access_key, self._s3.secret_key, "")
        self._config.write_text(self._settings(scontrol))
        self._spawn([*self._agent, "run", "--config", str(self._config)], "agent")
        until(lambda: ask_status(self.socket) is not None, f"the agent of {self.name}", READY_SECONDS)

    def _settings(self, scontrol: Path) -> str:
        return (
            f'[node]\nname = "{self.name}"\ncluster = "demo-00000000"\nwriter = "AROADEMO:{INSTANCES[self.name]}"\n'
            f'[scratch]\npaths = ["{self.scratch}"]\nrequire_mount = false\n[s3]\nbucket = "{BUCKET}"\n'
            f'[slurm]\nbin_dir = "{scontrol.parent}"\nrequeue = false\n[http]\nlisten = ""\n'
            f'[state]\ndir = "{self.directory}/state"\nsocket = "{self.socket}"\n'
        )

    @property
    def _agent(self) -> list[str]:
        return [sys.executable, "-m", "agent"]

    @property
    def _environment(self) -> Mapping[str, str]:
        """Nothing of the caller's that has to do with AWS, Slurm or proxies."""
        return {
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": str(self.directory),
            "LANG": "C.UTF-8",
            "AWS_EC2_METADATA_SERVICE_ENDPOINT": f"http://127.0.0.1:{self._port}",
            "AWS_ENDPOINT_URL_S3": self._s3.endpoint,
            "AWS_REGION": REGION,
        }

    def restore(self, options: Sequence[str], *, live: bool) -> tuple[int, str]:
        """Restore into the scratch, with the credentials of this node's role."""
        terminal = {name: os.environ[name] for name in ("TERM", "NO_COLOR", "COLUMNS") if name in os.environ}
        done = subprocess.run(
            [*self._agent, "restore", *options, "--to", str(self.scratch), "--config", str(self._config)],
            env={**self._environment, **terminal},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=None if live else subprocess.STDOUT,
            text=True,
            check=False,
        )
        return done.returncode, done.stdout

    def run(self, argv: Sequence[str]) -> None:
        """Start the job."""
        self._spawn(argv, "job")

    def end(self) -> None:
        """End every process at once, the agent's copier too."""
        below = [pid for child in self._children for pid in children(child.pid)]
        for child in self._children:
            child.kill()
        for pid in below:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for child in self._children:
            child.wait()
        self._children.clear()

    def _spawn(self, argv: Sequence[str], name: str) -> None:
        with (self._log / f"{name}-{self.name}.log").open("a") as log:
            child = subprocess.Popen(
                [*dying_with_us(), *argv],
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                text=True,
                start_new_session=True,
            )
        self._children.append(child)


class PlainScene(Curtain):
    """Two directories on this machine. `why` says why there is no Slurm."""

    def __init__(self, directory: Path, why: str) -> None:
        super().__init__()
        self._directory = directory
        self._log = directory / "log"
        self._s3 = DemoS3(directory / "s3")
        self.logs = [self._log, self._s3.log]
        self.target = f"{OTHER}/scratch"
        self.cast = [
            "real:   an S3 server (SeaweedFS), hpc-agent",
            "played: EC2, the nodes (two directories) and Slurm: scontrol is a STAND-IN",
            f"        No Slurm here: {why}",
        ]

    def set_up(self, megabytes: int) -> None:
        del megabytes
        self._slurm = StandIn.create(self._directory / "bin", list(INSTANCES))
        self.undo.enter_context(self._s3)
        self._log.mkdir()
        self._make_bucket()
        self._nodes = {n: PlainNode(self._directory / n, n, s3=self._s3, log=self._log) for n in INSTANCES}
        for node in self._nodes.values():
            self.undo.callback(node.end)
            node.start(self._slurm.program)

    def _make_bucket(self) -> None:
        keys = {"AWS_ACCESS_KEY_ID": self._s3.access_key, "AWS_SECRET_ACCESS_KEY": self._s3.secret_key}
        address = {"AWS_ENDPOINT_URL_S3": self._s3.endpoint, "AWS_REGION": REGION}
        environment = {"PATH": os.environ.get("PATH", os.defpath), "HOME": str(self._directory), **keys, **address}
        command = [sys.executable, "-m", "agent.aws.bucket", BUCKET]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)
        if done.returncode != 0:
            raise SceneFailed("make", "the bucket", done.stderr.strip()[-500:])

    def work(self, files: int, megabytes: int) -> str:
        node, ready = self._nodes[DOOMED], self._directory / "ready"
        node.run(["sh", str(JOB), str(node.scratch / "run-1"), str(files), str(megabytes), str(ready)])
        until(ready.exists, "the job's files", JOB_SECONDS)
        return "a process that plays a job"

    def notice(self, seconds: int) -> tuple[float, float]:
        shown = self._nodes[DOOMED].imds.interrupt("terminate", datetime.now(UTC) + timedelta(seconds=seconds))
        return shown["mono"], shown["mono"] + seconds

    def record(self) -> str:
        command = [str(self._slurm.program), "show", "node", "-o", DOOMED]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=30).stdout

    def status(self) -> dict[str, Any] | None:
        return ask_status(self._nodes[DOOMED].socket)

    def kill(self) -> str:
        self._nodes[DOOMED].end()
        rmtree(self._nodes[DOOMED].directory)
        return "its processes, its scratch"

    def scratch(self, node: str) -> Path:
        return self._nodes[node].scratch

    def restore(self, options: Sequence[str], *, live: bool) -> tuple[int, str]:
        return self._nodes[OTHER].restore(options, live=live)


def children(pid: int) -> list[int]:
    """Return the process ids of a process's children."""
    try:
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def until(reached: Callable[[], bool], what: str, seconds: float) -> None:
    """Return once `reached()` holds. Raises SceneFailed."""
    end = time.monotonic() + seconds
    while not reached():
        if time.monotonic() > end:
            raise SceneFailed("wait for", what, f"not there after {seconds:g} s")
        time.sleep(0.05)
