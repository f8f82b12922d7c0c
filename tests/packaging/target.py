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
        root.did("chmod", "755", self.BOOTSTRAP)
        self.sha256 = digest(root.inside(self.BUNDLE))

    def bootstrap(self, *arguments, before=(), seconds=60):
        """Run it as ParallelCluster does: a program whose output goes to pipes, done when nobody holds them."""
        return self.root.run(*before, self.BOOTSTRAP, *arguments, seconds=seconds)

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

    def files(self):
        """Return all that is on the disk, but for what the system itself writes as it goes."""
        said = self.root.did("find", "/", "-xdev", "-not", "-type", "d", "-not", "-path", "/proc/*", "-print0")
        own = ("/var/lib/systemd/", "/var/lib/dpkg/", "/var/cache/", "/var/log/", "/etc/machine-id")
        return {path for path in said.split("\0") if path and not path.startswith(own)}

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
    def silence(self):
        """A network that takes every packet and brings none back, as a security group without a rule does."""
        self.root.did("ip", "link", "add", "hole", "type", "veth", "peer", "name", "bottom")
        for end in ("hole", "bottom"):
            self.root.did("ip", "link", "set", end, "up")
        self.root.did("ip", "address", "add", "10.99.0.5/24", "dev", "hole")
        self.root.did("ip", "neighbour", "replace", "10.99.0.1", "lladdr", "02:00:00:00:00:01", "dev", "hole")
        self.root.did("ip", "route", "add", "default", "via", "10.99.0.1")
        try:
            yield
        finally:
            self.root.did("ip", "link", "delete", "hole")

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
