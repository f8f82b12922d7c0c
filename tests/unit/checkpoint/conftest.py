import os
import subprocess
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.fakes.shelf import Shelf


@pytest.fixture
def shelf():
    return Shelf()


@pytest.fixture(scope="module")
def executor():
    with ThreadPoolExecutor(4) as pool:
        yield pool


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
