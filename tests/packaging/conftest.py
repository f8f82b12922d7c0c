"""A bundle made once for the run, and a machine without network to install it on."""

import shutil
import subprocess
import sys

import pytest

from tests.fakes.systemd_root import SystemdRoot
from tests.packaging.target import ROOT, Target

PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"


@pytest.fixture(scope="session")
def bundle(tmp_path_factory):
    """The bundle of this tree, for the Python that runs this."""
    to = tmp_path_factory.mktemp("bundle")
    make = [sys.executable, ROOT / "packaging/bundle.py", "--python", PYTHON, "--to", to]
    subprocess.run(make, check=True, capture_output=True, timeout=110)
    (archive,) = to.glob("*.tar.gz")
    return archive


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
