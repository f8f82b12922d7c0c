"""A bundle made once for the run, and a machine without network to install it on."""

import fcntl
import os
import shutil
import subprocess
import sys

import pytest

from tests.fakes.systemd_root import SystemdRoot
from tests.packaging.target import ROOT, Target

PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"


def make_bundle(tree, to, *arguments):
    """Return the archive that `tree` gives, for the Python that runs this if nothing else is said."""
    make = [sys.executable, tree / "packaging/bundle.py", "--to", to, *(arguments or ["--python", PYTHON])]
    subprocess.run(make, check=True, capture_output=True, timeout=800)
    (archive,) = to.glob("*.tar.gz")
    return archive


@pytest.fixture(scope="session")
def bundle(tmp_path_factory):
    """The bundle of this tree: one for all workers of a run."""
    base = tmp_path_factory.getbasetemp()
    shared = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "bundle"
    shared.mkdir(exist_ok=True)
    with (shared / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        made = list(shared.glob("*.tar.gz"))
        return made[0] if made else make_bundle(ROOT, shared)


@pytest.fixture(scope="module")
def lab(tmp_path_factory, bundle):
    with SystemdRoot.running(tmp_path_factory.mktemp("target") / "lab", {}) as root:
        shutil.copy(bundle, root.inside(Target.BUNDLE))
        yield root


@pytest.fixture
def target(lab):
    """A machine that has the bundle's archive and nothing of it installed."""
    machine = Target(lab)
    yield machine
    machine.wipe()
