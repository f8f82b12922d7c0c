"""The checksum comes out of awscrt's library without its start, and with it where the library has become another."""

import subprocess
import sys
from pathlib import Path

import pytest
from awscrt import checksums

from agent import crt

BODY = bytes(range(256)) * 1000


def test_the_functions_are_awscrts_own():
    crc64nvme, combine = crt.functions()
    assert crc64nvme(BODY, 7) == checksums.crc64nvme(BODY, 7)
    assert combine(1, 2, 3) == checksums.combine_crc64nvme(1, 2, 3)


def test_awscrt_is_not_started_for_a_checksum():
    told = "import sys, agent.checksum; agent.checksum.crc64nvme(b''); sys.exit('_awscrt' in sys.modules)"
    subprocess.run([sys.executable, "-c", told], check=True)


def test_an_awscrt_that_nobody_has_tried_it_with_is_imported_as_any_library(monkeypatch):
    monkeypatch.setattr(crt, "TRIED", "0.0.0")
    assert crt.functions() == (checksums.crc64nvme, checksums.combine_crc64nvme)


def test_the_version_that_was_tried_is_the_one_that_is_installed_everywhere():
    assert f"awscrt=={crt.TRIED}" in (Path(__file__).parents[2] / "constraints.txt").read_text().splitlines()


@pytest.mark.parametrize("wrong", [None, 5])
def test_what_is_no_bytes_is_refused(wrong):
    with pytest.raises(TypeError):
        crt.functions()[0](wrong, 0)
