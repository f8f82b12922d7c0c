"""Real Slurm nodes with what a node on AWS has around it: an IMDS of its own, a role, an S3 to write to, the agent.

The demo and the end-to-end tests play on it. Nothing in the agent knows: it finds the IMDS at 169.254.169.254, its
credentials there, scontrol on PATH and its settings in a file.
"""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final, Self

from agent.demo import s3
from agent.demo.cluster import Cluster
from agent.demo.imds_control import ImdsControl
from agent.demo.scene import ask_status
from agent.errors import TransientError

IMDS: Final = "169.254.169.254"
PORT: Final = 8333
BUCKET: Final = "rescue"
REGION: Final = "us-west-2"
SOCKET: Final = "/run/hpc-agent/agent.sock"
AGENT: Final = [sys.executable, "-m", "agent"]


class StageFailed(TransientError):
    """Something on the stage did not come up or come about in time."""


class Bucket:
    """A real S3 server in the head's network, and one bucket on it."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._directory = cluster.shared / "s3"
        self.access_key, self.secret_key = "AKIDSTAGE", "stage-secret"
        self.address = cluster.address("head")
        self.endpoint = f"http://{self.address}:{PORT}"
        self._server: subprocess.Popen[str] | None = None

    @property
    def environment(self) -> dict[str, str]:
        """What a child without an instance profile needs to use it."""
        return {
            "AWS_ENDPOINT_URL_S3": self.endpoint,
            "AWS_REGION": REGION,
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
        }

    def start(self) -> None:
        """Start the server, with the data it had when it was started before. Raises StageFailed."""
        command = s3.argv(self._directory, self.address, PORT, self.access_key, self.secret_key)
        there = [word.replace(str(self._directory), "/shared/s3") for word in command]
        with (self._directory / "log").open("a") as log:
            self._server = self._cluster.popen("head", there, stdout=log, stderr=log)
        ready = [sys.executable, "-c", f"from agent.demo.s3 import wait_ready; wait_ready({self.endpoint!r})"]
        self._in_head(ready)

    def make(self) -> None:
        """Make the bucket."""
        self._in_head([sys.executable, "-m", "agent.aws.bucket", BUCKET])

    def stop(self) -> None:
        """Stop the server: its address refuses connections."""
        if self._server is not None:
            self._server.kill()
            self._server.wait()
            self._server = None

    def _in_head(self, argv: list[str]) -> None:
        done = self._cluster.run("head", argv, env=self.environment, timeout=60)
        if done.returncode != 0:
            raise StageFailed("run", argv[-1], done.stderr.strip()[-500:])


class Instance:
    """One EC2 instance that is a Slurm node: `name` is the node's, `instance_id` the machine's."""

    def __init__(
        self,
        cluster: Cluster,
        name: str,
        *,
        instance_id: str,
        bucket: Bucket,
        endpoint: str = "",
        settings: str = "",
        environment: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        """`endpoint` is where the agent finds S3, the bucket's own when empty; `settings` are more lines of TOML;
        `environment` are more variables of the agent.
        """
        self.cluster = cluster
        self.name = name
        self.instance_id = instance_id
        self._bucket = bucket
        self._settings = settings
        self._environment = {"AWS_ENDPOINT_URL_S3": endpoint or bucket.endpoint, "AWS_REGION": REGION, **environment}
        self._control = cluster.shared / f"imds-{name}.sock"
        self.imds = ImdsControl(self._control)
        self.log = cluster.shared / "log" / f"agent-{name}-{instance_id}.log"
        self._imds: subprocess.Popen[str] | None = None
        self._agent: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        self.start_imds()
        self.configure()
        self.start_agent()
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def end(self) -> None:
        """End the agent and the IMDS."""
        for process in (self._agent, self._imds):
            if process is not None:
                process.kill()
                process.wait()
        self._agent = self._imds = None

    def start_imds(self) -> None:
        """Give the node its metadata service, with a role that may use the bucket."""
        self._control.unlink(missing_ok=True)
        command = [sys.executable, "-m", "agent.demo.imds", "--host", IMDS, "--port", "80"]
        command += ["--control", f"/shared/{self._control.name}", "--instance-id", self.instance_id]
        with (self.cluster.shared / "log" / f"imds-{self.name}.log").open("a") as log:
            self._imds = self.cluster.popen(self.name, [*command, "--region", REGION], stdout=log, stderr=log)
        self.imds.wait(20)
        self.imds.credentials(self._bucket.access_key, self._bucket.secret_key, "")

    def configure(self) -> None:
        """Write the agent's settings where an operator would."""
        text = f'[node]\nwriter = "AROASTAGE:{self.instance_id}"\n[s3]\nbucket = "{BUCKET}"\n{self._settings}'
        script = "mkdir -p /etc/hpc-agent && cat >/etc/hpc-agent/config.toml"
        command = self.cluster.command(self.name, ["sh", "-c", script])
        subprocess.run(command, input=text, text=True, check=True)

    def start_agent(self) -> None:
        """Start the daemon; return when it answers."""
        self._agent = self.spawn([*AGENT, "run"])
        self.until(lambda _status: True, "the daemon answers", seconds=20)

    def spawn(self, argv: list[str]) -> subprocess.Popen[str]:
        """Start a child in the node with the agent's environment and log."""
        with self.log.open("a") as log:
            return self.cluster.popen(self.name, argv, env=self._environment, stdout=log, stderr=log)

    def kill_agent(self) -> None:
        """End the daemon with SIGKILL, and nothing else."""
        assert self._agent is not None
        self._agent.kill()
        self._agent.wait()

    def command(self, *arguments: str, user: str = "", timeout: float = 120) -> subprocess.CompletedProcess[str]:
        """Run `hpc-agent` with these arguments in the node."""
        argv = [*AGENT, *arguments]
        return self.cluster.run(self.name, argv, user=user, env=self._environment, timeout=timeout)

    def status(self) -> dict[str, Any] | None:
        """Return the status document, None while no daemon answers.

        Asked of the socket itself: a command for each look would take more of a small machine than the agent does.
        """
        return ask_status(self.cluster.inside(self.name, SOCKET))

    def until(self, reached: Callable[[dict[str, Any]], bool], what: str, *, seconds: float) -> dict[str, Any]:
        """Return the first status for which `reached` holds. Raises StageFailed with the agent's last words."""
        end, status = time.monotonic() + seconds, None
        while time.monotonic() < end:
            status = self.status()
            if status is not None and reached(status):
                return status
            time.sleep(0.1)
        words = self.log.read_text(errors="replace")[-3000:] if self.log.exists() else ""
        raise StageFailed("wait for", what, f"not within {seconds:g} s; status {json.dumps(status)}; log:\n{words}")

    def until_state(self, state: str, *, seconds: float) -> dict[str, Any]:
        return self.until(lambda status: status["state"] == state, f"state {state}", seconds=seconds)
