import os
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from agent.store.memory import MemoryStore
from tests.fakes.saved_again import Node
from tests.fakes.shelf import Shelf


@pytest.fixture
def shelf():
    return Shelf()


@pytest.fixture(scope="module")
def executor():
    with ThreadPoolExecutor(6) as pool:
        yield pool


@pytest.fixture
def store():
    return MemoryStore(smallest_part=1)


@pytest.fixture
def root(tmp_path):
    path = tmp_path / "scratch"
    path.mkdir()
    return path


@pytest.fixture
def node(executor):
    # A disk: /tmp may be a tmpfs, whose times tell of no write through mmap; /var/tmp outlives a reboot (hier(7)).
    with tempfile.TemporaryDirectory(dir="/var/tmp") as directory:
        yield Node(Path(directory), executor)


@pytest.fixture
def small_disk(tmp_path):
    """A directory with 4 MiB of room."""
    if os.geteuid() != 0:
        pytest.skip("mounting is for root")
    path = tmp_path / "small"
    path.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "none", path], check=True)
    yield path
    subprocess.run(["umount", path], check=True)
