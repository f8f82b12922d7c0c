"""The daemon as a process, its IMDS, and an Auto Scaling API: an instance waits at its hook until it is saved."""

import pytest

from tests.fakes.autoscaling import SOMEBODY, AutoScalingApi, Group, moto
from tests.fakes.lone import Lone

TARGET = "meta-data/autoscaling/target-lifecycle-state"
SEEN = 15
"""Seconds: the target is looked at every ten."""


@pytest.fixture(scope="module")
def group(tmp_path_factory):
    with moto(tmp_path_factory.mktemp("moto")) as endpoint:
        group = Group(endpoint, "nodes")
        group.hook("hpc-agent", seconds=60)
        yield group


@pytest.fixture
def api(group):
    with AutoScalingApi(group.endpoint) as front:
        yield front


def running(directory, api, group, **variables):
    """A daemon on the instance of the group."""
    region = {"AWS_REGION": "eu-central-1"}  # the bucket's: the group is where IMDS says that the instance is
    where = {**SOMEBODY, **region, "AWS_ENDPOINT_URL_AUTO_SCALING": api.endpoint}
    return Lone.running(directory, instance_id=group.instance, **where, **variables)


def test_the_hook_hears_from_the_node_while_it_is_saved(tmp_path, api, group):
    with running(tmp_path, api, group) as daemon:
        daemon.imds.set(TARGET, "Terminated")

        status, _ = daemon.until(lambda _: api.told, seconds=SEEN + 5)

        assert api.told[0] == ("heartbeat", "hpc-agent", "nodes", group.instance, "")
        assert (status["state"], status["notice"]["kind"]) == ("copying", "asg-terminate")


def test_the_hook_is_completed_when_the_node_is_at_rest(tmp_path, api, group):
    with running(tmp_path, api, group, HPC_AGENT_S3__BUCKET="") as daemon:
        daemon.imds.set(TARGET, "Terminated")

        status, _ = daemon.until(lambda _: api.told, seconds=SEEN + 5)

        assert api.told == [("complete", "hpc-agent", "nodes", group.instance, "CONTINUE")]
        assert status["state"] == "resting"


def test_without_the_right_the_node_is_saved_all_the_same_and_says_which_right_is_missing(tmp_path, api, group):
    api.denied.add("CompleteLifecycleAction")
    with running(tmp_path, api, group, HPC_AGENT_S3__BUCKET="") as daemon:
        daemon.imds.set(TARGET, "Terminated")

        def told(status):
            return [one for one in status["trouble"] if "autoscaling:CompleteLifecycleAction" in one["hint"]]

        status, _ = daemon.until(told, seconds=SEEN + 5)

        assert status["state"] == "resting"
