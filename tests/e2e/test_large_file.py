"""A file larger than S3 takes in one request comes back as it was."""

import json
import os
import random
import subprocess
import sys

import pytest

pytestmark = [pytest.mark.s3, pytest.mark.slow, pytest.mark.timeout(1200)]

MIB = 1 << 20
SIZE = (5 << 30) + 300 * MIB + 7
"""One PUT, and one CopyObject, end at 5 GiB (S3 User Guide, "Amazon S3 multipart upload limits")."""
RUN = 67 * MIB
"""Of random bytes, again and again, each time behind its own number: no two parts are the same."""


def test_p2_a_file_over_5_gib_comes_back_byte_by_byte(tmp_path, s3_server):
    scratch, target = tmp_path / "scratch", tmp_path / "restored"
    scratch.mkdir()
    noise = random.Random(5).randbytes(RUN - 8)
    with (scratch / "model.pt").open("wb") as file:
        for number in range(-(-SIZE // RUN)):
            file.write(number.to_bytes(8, "big") + noise)
        file.truncate(SIZE)
    address = f"s3://{s3_server.bucket()}/p"
    saved = run(s3_server, "checkpoint", "--standalone", "--from", scratch, "--to", address, "--json")
    assert (saved["outcome"], saved["bytes"]) == ("COMPLETE", SIZE)
    chosen = (saved["checkpoint_id"], "--from", address, "--json")
    run(s3_server, "verify", *chosen, "--deep")
    run(s3_server, "restore", *chosen, "--to", target)
    assert are_same(scratch / "model.pt", target / "model.pt")


def run(server, *arguments):
    done = subprocess.run(
        [sys.executable, "-m", "agent", *map(str, arguments)],
        env=dict(os.environ) | server.environment | {"HPC_AGENT_NODE__NAME": "n1"},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def are_same(first, second):
    if first.stat().st_size != second.stat().st_size:
        return False
    with first.open("rb") as one, second.open("rb") as other:
        return all(one.read(RUN) == other.read(RUN) for _ in range(-(-SIZE // RUN)))
