"""Starts what clients save to and restore from: the sink (sink.c), and SeaweedFS, both behind TLS."""

import contextlib
import json
import shutil
import ssl
import subprocess
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from agent.demo.s3 import DemoS3, free_port
from tests.measure.authority import Authority

SOURCE = Path(__file__).with_suffix(".c")
LIBRARIES = ("-lssl", "-lcrypto", "-lpthread")


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    endpoint: str
    bundle: Path
    access_key: str = "bench"
    secret_key: str = "bench-secret"

    def counts(self) -> dict[str, int]:
        """Return what a sink was sent since it was asked last: connections, requests, bytes."""
        trust = ssl.create_default_context(cafile=str(self.bundle))
        with urllib.request.urlopen(f"{self.endpoint}/__counts", context=trust, timeout=10) as answer:
            return dict(json.load(answer))


def missing() -> str:
    """Return "" when a sink can be built here, else the reason in one line."""
    if shutil.which("cc") is None:
        return "there is no C compiler (cc)"
    look = ["cc", "-E", "-include", "openssl/ssl.h", "-"]
    looked = subprocess.run(look, check=False, input=b"", capture_output=True)
    return "there are no headers of OpenSSL (libssl-dev)" if looked.returncode else ""


def build(directory: Path) -> Path:
    """Compile the sink; return where it is."""
    program = directory / "sink"
    subprocess.run(["cc", "-O2", "-Wall", "-Wextra", "-Werror", "-o", program, SOURCE, *LIBRARIES], check=True)
    return program


@contextlib.contextmanager
def sink(program: Path, authority: Authority, *, delay_ms: int = 0, cap: int = 0, total: int = 0) -> Iterator[Server]:
    """Run a sink whose answers are late by `delay_ms`; bytes/s (0: all they can) that a connection takes: `cap`, and
    all of them together: `total`.
    """
    options = ["-c", authority.chain, "-k", authority.key, "-d", str(delay_ms), "-b", str(cap), "-t", str(total)]
    with subprocess.Popen([program, *options], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        try:
            yield Server(endpoint=f"https://127.0.0.1:{int(child.stdout.readline())}", bundle=authority.bundle)
        finally:
            child.kill()


@contextlib.contextmanager
def seaweedfs(directory: Path, authority: Authority) -> Iterator[Server]:
    """Run SeaweedFS, which keeps what it is sent, below `directory`."""
    port = free_port("127.0.0.1")
    secure = [f"-s3.port.https={port}", f"-s3.cert.file={authority.chain}", f"-s3.key.file={authority.key}"]
    with DemoS3(directory, more=secure) as running:
        yield Server(
            endpoint=f"https://127.0.0.1:{port}",
            bundle=authority.bundle,
            access_key=running.access_key,
            secret_key=running.secret_key,
        )
