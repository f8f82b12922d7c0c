"""Who we are to AWS, asked of a real STS service (moto) and of broken ones, by the child as the daemon starts it."""

import contextlib
import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from agent.demo.s3 import free_port

NOBODY = {
    "AWS_ACCESS_KEY_ID": "",
    "AWS_SECRET_ACCESS_KEY": "",
    "AWS_CONFIG_FILE": "/nonexistent",
    "AWS_SHARED_CREDENTIALS_FILE": "/nonexistent",
    "AWS_EC2_METADATA_DISABLED": "true",
}
SOMEBODY = {**NOBODY, "AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_REGION": "eu-west-1"}


@pytest.fixture(scope="module")
def sts(tmp_path_factory):
    port = free_port("127.0.0.1")
    server = Path(sys.executable).with_name("moto_server")
    endpoint = f"http://127.0.0.1:{port}"
    with (tmp_path_factory.mktemp("moto") / "log").open("wb") as log:
        child = subprocess.Popen([server, "-H", "127.0.0.1", "-p", str(port)], stdout=log, stderr=log)
    try:
        wait_for(endpoint)
        yield endpoint
    finally:
        child.kill()
        child.wait()


def wait_for(endpoint):
    until = time.monotonic() + 20
    while time.monotonic() < until:
        with contextlib.suppress(OSError), urllib.request.urlopen(endpoint + "/moto-api/", timeout=2):
            return
        time.sleep(0.05)
    raise RuntimeError("moto did not start")


def ask(endpoint, environment, *options):
    command = [sys.executable, "-m", "agent.aws.caller", *options]
    clean = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    child = subprocess.run(
        command,
        env={**clean, **environment, "AWS_ENDPOINT_URL_STS": endpoint},
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert child.stderr == ""
    return child.returncode, json.loads(child.stdout)


def test_the_user_id_is_printed_as_one_document(sts):
    code, said = ask(sts, SOMEBODY)
    assert code == 0
    assert set(said) == {"userid"}
    assert said["userid"].startswith("AKIA")


def test_an_sts_that_refuses_the_connection_is_an_error_with_a_hint(sts):
    code, said = ask("http://127.0.0.1:1", SOMEBODY)
    assert code == 1
    assert set(said) == {"error", "hint"}
    assert "STS" in said["error"]


def test_without_credentials_the_hint_says_where_they_come_from(sts):
    code, said = ask(sts, NOBODY)
    assert code == 1
    assert "instance profile" in said["hint"]


def test_an_sts_that_does_not_answer_is_given_up_in_time(silent):
    began = time.monotonic()
    code, said = ask(silent, SOMEBODY, "--seconds", "0.5")
    assert code == 1
    assert "STS" in said["error"]
    assert time.monotonic() - began < 10  # most of it starts Python


@pytest.fixture
def silent():
    """A server that takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
