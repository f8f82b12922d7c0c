import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fakes.daemon import FakeDaemon

REPOSITORY = Path(__file__).parents[3]


@pytest.fixture
def daemon(tmp_path):
    fake = FakeDaemon(tmp_path / "agent.sock")
    yield fake
    fake.close()


@pytest.fixture
def environ(tmp_path):
    """The environment of a command: nothing of the agent's but the place of the socket."""
    kept = {name: text for name, text in os.environ.items() if not name.startswith(("HPC_AGENT_", "AWS_", "SLURM_"))}
    return kept | {"HPC_AGENT_STATE__SOCKET": str(tmp_path / "agent.sock")}


@pytest.fixture
def command(environ, tmp_path):
    """Runs the real command as a child."""

    def run(*arguments, program=(sys.executable, "-m", "agent"), **variables):
        return subprocess.run(
            [*program, *arguments],
            env=environ | variables | {"PYTHONPATH": str(REPOSITORY)},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )

    return run
