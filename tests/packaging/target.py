"""What an operator, or ParallelCluster, does on a machine: runs the bootstrap and looks at what became of it."""

import contextlib
import hashlib
from pathlib import Path

ROOT = Path(__file__).parents[2]
PLACES = ("/opt", "/etc", "/var/lib", "/run", "/usr/local")


def digest(file):
    return hashlib.sha256(file.read_bytes()).hexdigest()


class Target:
    """A machine to install on."""

    BUNDLE = "/var/bundle.tar.gz"
    BOOTSTRAP = "/var/bootstrap.sh"
    LOG = "/var/log/hpc-agent-bootstrap.log"
    COMMAND = "/usr/local/bin/hpc-agent"

    def __init__(self, root):
        self.root = root
        root.write(self.BOOTSTRAP, (ROOT / "packaging/bootstrap.sh").read_text())
        self.sha256 = digest(root.inside(self.BUNDLE))

    def bootstrap(self, *arguments, before=(), seconds=60):
        """Run it with its output on pipes, as ParallelCluster does; done when nobody holds them any more."""
        return self.root.run(*before, "sh", self.BOOTSTRAP, *arguments, seconds=seconds)

    def install(self, *arguments, before=()):
        what = ("--bundle", self.BUNDLE, "--sha256", self.sha256, "--bucket", "my-bucket")
        return self.bootstrap(*what, *arguments, before=before, seconds=110)

    def log(self, path=LOG):
        return self.root.inside(path).read_text()

    def journal(self):
        return self.root.did("journalctl", "-t", "hpc-agent-bootstrap", "-o", "cat", "--no-pager")

    def status(self):
        return self.root.run(self.COMMAND, "status", user="nobody")

    def service(self, name):
        return self.root.shown("hpc-agent", name)

    def is_active(self):
        return self.service("ActiveState") == "active"

    def left(self):
        """Return what there is of us where we put things."""
        found = self.root.did("find", *PLACES, "-xdev", "-name", "*hpc-agent*", "-not", "-path", f"{ROOT}/*")
        return found.split()

    def wipe(self):
        self.bootstrap("--uninstall")
        assert self.left() == []

    @contextlib.contextmanager
    def small(self, path):
        """A file system of one MiB at `path`, and full."""
        self.root.did("mkdir", "-p", path)
        self.root.did("mount", "-t", "tmpfs", "-o", "size=1m", "small", path)
        self.root.run("dd", "if=/dev/zero", f"of={path}/full", "bs=4k")
        try:
            yield
        finally:
            self.root.did("umount", path)

    @contextlib.contextmanager
    def program(self, name, text):
        """A program of /usr/local/bin, first in the path."""
        path = f"/usr/local/bin/{name}"
        self.root.write(path, f"#!/bin/sh\n{text}\n")
        self.root.did("chmod", "755", path)
        try:
            yield
        finally:
            self.root.did("rm", path)

    @contextlib.contextmanager
    def file(self, path, text):
        """Another file in the place of one of the system."""
        self.root.write("/var/instead", text)
        self.root.did("chmod", "755", "/var/instead")
        self.root.did("mount", "--bind", "/var/instead", path)
        try:
            yield
        finally:
            self.root.did("umount", path)

    @contextlib.contextmanager
    def pythons(self, text):
        """Every Python of the system is this script; "" takes them away."""
        found = self.root.run("sh", "-c", "ls /usr/bin/python3* /usr/local/bin/python3* 2>/dev/null").stdout.split()
        taken = [path for path in found if "config" not in path]
        for path in taken:
            self.root.did("mv", path, f"{path}.taken")
            if text:
                self.root.write(path, text)
                self.root.did("chmod", "755", path)
        try:
            yield
        finally:
            for path in taken:
                self.root.did("mv", f"{path}.taken", path)
