"""A machine with the agent as systemd's service, and what can stand around it: S3, IMDS, disks."""

import contextlib
import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from agent.demo.imds_control import ImdsControl
from agent.demo.s3 import PORTS, dying_with_us, leftovers
from agent.demo.s3 import argv as weed_argv
from tests.fakes.systemd_root import SystemdRoot, until

UNIT = Path(__file__).parents[2] / "systemd/hpc-agent.service"
VENV = Path(sys.prefix)
AGENT = f"{VENV}/bin/hpc-agent"
NEIGHBOUR = "[Service]\nExecStart=/bin/sleep infinity\n"
"""In the place of slurmd and munge: what counts is when it is stopped."""
PORT = 10000 + PORTS * (os.getpid() % 5000)
"""Of the real S3, in the machine's own network. It makes sockets in /tmp by its ports, which other machines share."""


class Machine:
    """A machine with the agent installed and nothing else: no IMDS, no Slurm, no scratch, no bucket."""

    def __init__(self, root: SystemdRoot) -> None:
        self.root = root
        self._began = root.did("journalctl", "-n", "1", "-o", "json", "--output-fields=_BOOT_ID")

    def shown(self, name):
        return self.root.shown("hpc-agent", name)

    @property
    def pid(self):
        return int(self.shown("MainPID"))

    def status(self, user="root"):
        done = self.root.run(AGENT, "status", "--json", user=user)
        return json.loads(done.stdout) if done.returncode == 0 else None

    def until(self, reached, what):
        """Wait until the agent answers with a status for which `reached` holds."""
        until(lambda: (status := self.status()) is not None and reached(status), what, seconds=30)

    def until_state(self, state):
        self.until(lambda status: status["state"] == state, state)

    def signal(self, number):
        self.root.did("systemctl", "kill", "--kill-who=main", f"--signal={number.name}", "hpc-agent")

    def configure(self, *, unit="", variables=""):
        """Start the agent anew with a drop-in and an environment file of these lines."""
        self.root.write("/etc/systemd/system/hpc-agent.service.d/test.conf", f"[Service]\n{unit}\n")
        self.root.write("/etc/hpc-agent/environment", variables)
        self.root.did("systemctl", "daemon-reload")
        self.root.did("systemctl", "restart", "hpc-agent")

    def restarts(self):
        return int(self.shown("NRestarts"))

    def journal(self):
        """Return what the agent and systemd have said of it since this machine was handed out."""
        since = f"--after-cursor={json.loads(self._began)['__CURSOR']}"
        return self.root.did("journalctl", "-u", "hpc-agent", "-o", "cat", "--no-pager", since)


def variables(endpoint):
    """Return what leads the agent to the bucket "bucket" of an S3 at `endpoint`."""
    return {
        "AWS_ENDPOINT_URL_S3": endpoint,
        "AWS_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "HPC_AGENT_S3__BUCKET": "bucket",
    }


def lines(environment):
    return "".join(f"{name}={value}\n" for name, value in environment.items())


@contextlib.contextmanager
def silent_s3(root):
    """An S3 that takes connections and never says a word; yields the variables that lead to it."""
    listen = "import socket, time; s = socket.create_server(('127.0.0.1', 9000)); print(flush=True); time.sleep(600)"
    with subprocess.Popen(root.command(sys.executable, "-c", listen), stdout=subprocess.PIPE) as server:
        try:
            server.stdout.readline()
            yield lines(variables("http://127.0.0.1:9000"))
        finally:
            server.kill()


@dataclass(frozen=True, slots=True)
class RealS3:
    """`variables` lead the agent to it."""

    variables: str
    server: subprocess.Popen

    def stall(self):
        """Take what is sent, and answer nothing."""
        self.server.send_signal(signal.SIGSTOP)

    def go_on(self):
        self.server.send_signal(signal.SIGCONT)


@contextlib.contextmanager
def real_s3(root, directory):
    """A real S3 with a bucket, in the machine's network."""
    endpoint = f"http://127.0.0.1:{PORT}"
    prepare = (
        f"import botocore.session; from agent.demo.s3 import wait_ready; wait_ready('{endpoint}');"
        "botocore.session.get_session().create_client('s3').create_bucket(Bucket='bucket')"
    )
    weed = [*dying_with_us(), *weed_argv(directory, "127.0.0.1", PORT, "key", "secret")]
    command = ["nsenter", "-t", root.pid, "-n", "--", *weed]
    found = variables(endpoint)
    with (directory / "weed.log").open("wb") as log, subprocess.Popen(command, stdout=log, stderr=log) as server:
        try:
            root.did("env", *lines(found).split(), sys.executable, "-c", prepare)
            yield RealS3(variables=lines(found), server=server)
        finally:
            server.kill()
            for socket_file in leftovers(PORT):
                socket_file.unlink(missing_ok=True)


@contextlib.contextmanager
def imds(root):
    """The metadata of a Spot instance at 169.254.169.254; yields what drives it."""
    serve = [sys.executable, "-m", "agent.demo.imds", "--host=169.254.169.254", "--port=80", "--control=/run/imds.sock"]
    with subprocess.Popen(root.command(*serve), stdout=subprocess.DEVNULL) as server:
        try:
            control = ImdsControl(root.inside("/run/imds.sock"))
            control.wait(10)
            yield control
        finally:
            server.kill()


@contextlib.contextmanager
def scratch(root):
    """A scratch disk with a file on it."""
    root.did("mount", "-t", "tmpfs", "scratch", "/scratch")
    root.write("/scratch/job/result", "a" * 1000)
    try:
        yield
    finally:
        root.run("umount", "-l", "/scratch")  # a machine that was cut off has lost it


@contextlib.contextmanager
def dead_disk(root):
    """A scratch whose every call waits for ever: a FUSE file system that nobody serves."""
    mount = (
        "import ctypes, os, time; f = os.open('/dev/fuse', os.O_RDWR);"
        "o = f'fd={f},rootmode=40000,user_id=0,group_id=0,allow_other'.encode();"
        "print(ctypes.CDLL(None).mount(b'dead', b'/scratch', b'fuse.dead', 0, o), flush=True); time.sleep(600)"
    )
    with subprocess.Popen(root.command(sys.executable, "-c", mount), stdout=subprocess.PIPE) as server:
        try:
            assert server.stdout.readline() == b"0\n"
            yield
        finally:
            root.run("umount", "-l", "/scratch")
            server.kill()
