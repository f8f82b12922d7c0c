"""The lifecycle hook told by the child as the daemon starts it, against a real Auto Scaling API (moto)."""

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.fakes.autoscaling import SOMEBODY, AutoScalingApi, Group, moto


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with moto(tmp_path_factory.mktemp("moto")) as endpoint:
        yield endpoint


@pytest.fixture
def api(server):
    with AutoScalingApi(server) as front:
        yield front


@pytest.fixture(scope="module")
def only_group(server):
    return Group(server, "nodes")


@pytest.fixture
def group(only_group):
    yield only_group
    only_group.close()


def tell(endpoint, verb, instance, *options):
    clean = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    child = subprocess.run(
        [sys.executable, "-m", "agent.aws.lifecycle", verb, "--instance-id", instance, *options],
        env={**clean, **SOMEBODY, "AWS_ENDPOINT_URL_AUTO_SCALING": endpoint},
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert child.stderr == ""
    document = json.loads(child.stdout)
    assert child.returncode == (1 if "error" in document else 0)
    return document


def test_a_heartbeat_goes_to_the_terminating_hook_and_says_how_long_it_lasts(api, group):
    group.hook("launch", transition="autoscaling:EC2_INSTANCE_LAUNCHING")
    group.hook("save", seconds=120)

    said = tell(api.endpoint, "heartbeat", group.instance)

    assert said["done"] == ["save"]
    assert (said["heartbeat_seconds"], said["group"], said["state"]) == (120, "nodes", "InService")
    assert api.told == [("heartbeat", "save", "nodes", group.instance, "")]


def test_what_is_done_is_completed_once_and_a_second_time_finds_nobody_waiting(api, group):
    group.hook("save")

    assert tell(api.endpoint, "complete", group.instance)["done"] == ["save"]
    assert tell(api.endpoint, "complete", group.instance)["done"] == []

    assert api.told == [("complete", "save", "nodes", group.instance, "CONTINUE")]


def test_of_several_hooks_the_one_that_is_named_for_the_agent_is_ours(api, group):
    group.hook("backup-of-logs")
    group.hook("hpc-agent-save")

    assert tell(api.endpoint, "complete", group.instance)["done"] == ["hpc-agent-save"]


@pytest.mark.parametrize("names", [(), ("backup", "deregister")])
def test_a_hook_that_is_nobodys_or_somebody_elses_is_left_alone(api, group, names):
    for name in names:
        group.hook(name)

    said = tell(api.endpoint, "complete", group.instance)

    assert said["sort"] == "absent"
    assert said["hint"]
    assert api.told == []


def test_an_instance_outside_every_group_has_no_hook(api, group):
    said = tell(api.endpoint, "heartbeat", "i-0badcafe")

    assert said["sort"] == "absent"
    assert "i-0badcafe" in said["error"]


@pytest.mark.parametrize(
    "action",
    ["DescribeAutoScalingInstances", "DescribeLifecycleHooks", "RecordLifecycleActionHeartbeat"],
)
def test_a_right_that_is_missing_is_named(api, group, action):
    group.hook("save")
    api.denied.add(action)

    said = tell(api.endpoint, "heartbeat", group.instance)

    assert said["sort"] == "denied"
    assert f"autoscaling:{action}" in said["hint"]


@pytest.mark.parametrize("code", ["ExpiredToken", "InvalidClientTokenId", "Throttling"])
def test_credentials_that_have_expired_and_too_many_requests_are_worth_another_try(api, group, code):
    api.denied.add("DescribeAutoScalingInstances")
    api.code = code

    assert tell(api.endpoint, "heartbeat", group.instance)["sort"] == "unavailable"


def test_an_api_that_refuses_the_connection_may_be_back(group):
    said = tell("http://127.0.0.1:1", "heartbeat", group.instance)

    assert said["sort"] == "unavailable"


def test_an_api_that_does_not_answer_is_given_up_in_time():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        began = time.monotonic()
        said = tell(f"http://127.0.0.1:{listener.getsockname()[1]}", "heartbeat", "i-0", "--seconds", "0.5")

    assert said["sort"] == "unavailable"
    assert time.monotonic() - began < 10  # most of it starts Python
