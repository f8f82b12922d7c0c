"""The daemon as a process of its own with an IMDS of its own; its wall clock can be set while it runs."""

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

from agent.demo.imds_control import ImdsControl
from agent.demo.imds_tree import Machine

HERE = Path(__file__).parents[2]


def missing() -> str:
    """Return "" when the shim can be built here, else the reason in one line."""
    return "" if shutil.which("cc") else "there is no C compiler (cc)"


def build(directory: Path) -> Path:
    """Compile the shim; return where it is."""
    shim = directory / "clockshim.so"
    source = Path(__file__).with_name("clockshim.c")
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o", shim, source], check=True, timeout=60)
    return shim


class Lone:
    """A daemon with a scratch, a bucket in an S3 that never answers, and no Slurm.

    Its clock can be set when the shim is in its LD_PRELOAD; that of IMDS stays right, as on EC2.
    """

    def __init__(self, directory: Path, imds: ImdsControl) -> None:
        self.imds = imds
        self.socket = directory / "agent.sock"
        self.scratch = directory / "scratch"
        self.pid = 0
        self._ahead = directory / "ahead"
        self.ahead(0)

    def ahead(self, seconds: int) -> None:
        """Set the daemon's wall clock that far ahead of the right time."""
        fresh = self._ahead.with_suffix(".new")
        fresh.write_text(str(seconds))
        fresh.replace(self._ahead)

    @property
    def status(self):
        with socket.socket(socket.AF_UNIX) as line:
            line.settimeout(5)
            line.connect(str(self.socket))
            line.sendall(b'{"op": "status"}\n')
            return json.loads(line.makefile("rb").readline())

    def until(self, look, *, seconds):
        """Return the first status for which `look` is true, and after how many seconds it was."""
        began = time.monotonic()
        while not look(status := self.status):
            assert time.monotonic() - began < seconds, status
            time.sleep(0.05)
        return status, time.monotonic() - began

    @classmethod
    @contextlib.contextmanager
    def running(
        cls,
        directory: Path,
        *,
        instance_id: str = Machine().instance_id,
        tree: Path | None = None,
        **variables: str,
    ):
        """Start it and its IMDS, with `tree` moved onto its scratch and more variables of the environment; end both."""
        with contextlib.ExitStack() as stack:
            control = directory / "imds.sock"
            serve = [sys.executable, "-m", "agent.demo.imds", "--control", str(control), "--instance-id", instance_id]
            imds = stack.enter_context(_child(serve, {}, stdout=subprocess.PIPE))
            endpoint = json.loads(imds.stdout.readline())["endpoint"]
            silent = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
            daemon = cls(directory, ImdsControl(control))
            daemon.scratch.mkdir()
            (daemon.scratch / "result").write_text("a" * 1000)
            if tree is not None:
                tree.rename(daemon.scratch / tree.name)
            whole = {
                "CLOCKSHIM_FILE": str(daemon._ahead),
                "HPC_AGENT_SLURM__BIN_DIR": "/nonexistent",
                "AWS_EC2_METADATA_SERVICE_ENDPOINT": endpoint,
                "AWS_ENDPOINT_URL": f"http://127.0.0.1:{silent.getsockname()[1]}",
                "AWS_ACCESS_KEY_ID": "key",
                "AWS_SECRET_ACCESS_KEY": "secret",
                "HPC_AGENT_S3__BUCKET": "bucket",
                "HPC_AGENT_HTTP__LISTEN": "",
                "HPC_AGENT_NODE__CLUSTER": "lab-0badcafe",
                "HPC_AGENT_NODE__WRITER": "-",
                "HPC_AGENT_SCRATCH__PATHS": json.dumps([str(daemon.scratch)]),
                "HPC_AGENT_SCRATCH__REQUIRE_MOUNT": "false",
                "HPC_AGENT_STATE__DIR": str(directory / "state"),
                "HPC_AGENT_STATE__SOCKET": str(daemon.socket),
                **variables,
            }
            log = stack.enter_context((directory / "log").open("wb"))
            child = stack.enter_context(_child([sys.executable, "-m", "agent", "run"], whole, stderr=log))
            daemon.pid = child.pid
            daemon._wait(child)
            yield daemon

    def _wait(self, child) -> None:
        for _ in range(200):
            assert child.poll() is None, self._ahead.with_name("log").read_text()
            with contextlib.suppress(OSError):
                if self.status["state"] == "watching" and self.status["capabilities"]["imds"]["on"]:
                    return
            time.sleep(0.1)
        raise RuntimeError("the daemon did not start")


@contextlib.contextmanager
def _child(command, variables, **options):
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "HPC_AGENT_"))}
    with subprocess.Popen(command, env={**clean, **variables}, cwd=HERE, **options) as child:
        try:
            yield child
        finally:
            child.kill()
