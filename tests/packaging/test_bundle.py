"""The bundle for every Python and both architectures: complete without network, and each file with its hash."""

import subprocess
import sys

import pytest

from tests.packaging.conftest import make_bundle
from tests.packaging.target import ROOT

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

PYTHONS = ("3.11", "3.12", "3.13")
OLDEST = "manylinux_2_28"  # the C library of RHEL 8


@pytest.fixture(scope="module", params=["x86_64", "aarch64"])
def unpacked(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    archive = make_bundle(ROOT, folder, "--arch", request.param)
    subprocess.run(["tar", "-xzf", archive, "-C", folder, "--strip-components=1"], check=True, timeout=100)
    return folder, request.param


def resolve(folder, arch, python):
    """Ask pip what it would install, with dependencies, from the bundle alone."""
    platforms = [f"--platform={old}_{arch}" for old in (OLDEST, "manylinux_2_17", "manylinux2014", "manylinux_2_5")]
    where = ["--only-binary=:all:", "--implementation=cp", f"--python-version={python}", *platforms]
    offline = ["--isolated", "install", "--dry-run", "--no-index", "--require-hashes", "--disable-pip-version-check"]
    what = [f"--find-links={folder}/wheels", f"--target={folder}/to", f"--requirement={folder}/requirements.txt"]
    pip = [sys.executable, "-m", "pip", *offline, *where, *what]
    return subprocess.run(pip, capture_output=True, text=True, check=False, timeout=100)


@pytest.mark.parametrize("python", PYTHONS)
def test_all_that_the_agent_needs_is_there_for_each_python(unpacked, python):
    folder, arch = unpacked

    done = resolve(folder, arch, python)

    assert done.returncode == 0, done.stderr
    assert "Would install" in done.stdout


def test_a_bundle_says_what_it_is_for_and_its_sums_are_right(unpacked):
    folder, arch = unpacked
    checked = subprocess.run(["sha256sum", "--check", "--strict", "--quiet", "SHA256SUMS"], cwd=folder, check=False)

    assert checked.returncode == 0
    assert (folder / "PYTHONS").read_text().split() == list(PYTHONS)
    assert ("NOT TESTED" in (folder / "README").read_text()) is (arch == "aarch64")


def test_a_wheel_that_is_another_one_is_not_taken(unpacked):
    folder, arch = unpacked
    wheel = next(folder.glob("wheels/rich-*.whl"))
    right = wheel.read_bytes()
    wheel.write_bytes(right + b"x")
    try:
        assert "DO NOT MATCH THE HASHES" in resolve(folder, arch, PYTHONS[0]).stderr
    finally:
        wheel.write_bytes(right)
