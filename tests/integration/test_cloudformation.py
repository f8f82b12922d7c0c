"""The template that brings interruption warnings to the node: what cfn-lint says of it, and what it would do."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fakes.cloudformation import Stack, arguments, load, matches

TEMPLATE = Path(__file__).parents[2] / "packaging/cloudformation/interruption-tag.yaml"
WARNING = {
    "version": "0",
    "id": "72d6566c-e6bd-117d-5bbc-2779c679abd5",
    "source": "aws.ec2",
    "account": "111122223333",
    "time": "2026-11-23T09:15:00Z",
    "region": "eu-west-1",
    "resources": ["arn:aws:ec2:eu-west-1:111122223333:instance/i-0123456789abcdef0"],
    "detail": {
        "instance-id": "i-0123456789abcdef0",
        "instance-action": "terminate",
        "instance-termination-time": "2026-11-23T09:17:00Z",
        "availability-zone-id": "euw1-az1",
        "instance-lifecycle": "interruptible-capacity-reservation",
    },
}
TYPE = "EC2 Capacity Reservation Instance Interruption Warning"
INSTANCE = "arn:aws:ec2:eu-west-1:111122223333:instance/*"


@pytest.fixture(scope="module")
def template():
    return load(TEMPLATE)


@pytest.fixture(scope="module")
def stack(template):
    return Stack(template)


def test_cfn_lint_finds_nothing():
    linter = Path(sys.executable).with_name("cfn-lint")
    done = subprocess.run(
        [linter, "--include-checks", "I", "--", *sorted(TEMPLATE.parent.glob("*.yaml"))],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )

    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("key", ["detail-type", "detail_type"])
@pytest.mark.parametrize("life_cycle", ["interruptible-capacity-reservation", "capacity-block"])
def test_the_warning_for_an_instance_is_taken_however_its_type_is_spelled(stack, key, life_cycle):
    event = {**WARNING, key: TYPE, "detail": {**WARNING["detail"], "instance-lifecycle": life_cycle}}

    assert matches(stack.properties("Rule")["EventPattern"], event)


@pytest.mark.parametrize(
    ("kind", "detail"),
    [
        ("Capacity Block Reservation Expiration Warning", {"capacity-reservation-id": "cr-1", "end-date": "2026"}),
        ("Capacity Block Expiration Warning", {"capacity-reservation-id": "cr-1", "end-date": "2026"}),
        ("Capacity Block Reservation Delivered", {"capacity-reservation-id": "cr-1", "end-date": "2026"}),
        ("EC2 Spot Instance Interruption Warning", {"instance-id": "i-1", "instance-action": "terminate"}),
        ("EC2 Instance Rebalance Recommendation", {"instance-id": "i-1"}),
        ("EC2 Instance State-change Notification", {"instance-id": "i-1", "state": "shutting-down"}),
    ],
)
def test_events_that_name_no_instance_or_that_the_instance_sees_itself_are_not_taken(stack, kind, detail):
    event = {**WARNING, "detail-type": kind, "detail": detail}

    assert not matches(stack.properties("Rule")["EventPattern"], event)


def test_an_event_of_somebody_elses_making_is_not_taken(stack):
    assert not matches(stack.properties("Rule")["EventPattern"], {**WARNING, "source": "my.own"})


def test_the_states_are_a_chain_that_ends_in_the_tag_whatever_the_first_comes_to(stack):
    definition = json.loads(json.dumps(stack.properties("StateMachine")["Definition"]))
    states = definition["States"]

    chain = [definition["StartAt"]]
    while not states[chain[-1]].get("End"):
        chain.append(states[chain[-1]]["Next"])

    assert chain == ["ShowTags", "Tag"] == list(states)
    assert [catch["Next"] for catch in states["ShowTags"]["Catch"]] == ["Tag"]
    assert states["ShowTags"]["Catch"][0]["ErrorEquals"] == ["States.ALL"]


def test_the_instance_of_the_event_shows_its_tags_and_gets_the_time_of_its_end(stack):
    states = stack.properties("StateMachine")["Definition"]["States"]
    calls = {
        state["Resource"].rpartition("ec2:")[2]: arguments(state["Parameters"], WARNING) for state in states.values()
    }

    assert calls == {
        "modifyInstanceMetadataOptions": {"InstanceId": "i-0123456789abcdef0", "InstanceMetadataTags": "enabled"},
        "createTags": {
            "Resources": ["i-0123456789abcdef0"],
            "Tags": [{"Key": "hpc-agent:evacuate-by", "Value": "2026-11-23T09:17:00Z"}],
        },
    }
    # Both get the event: the first answer, or refusal, stands beside it and not in its place.
    assert states["ShowTags"]["ResultPath"].startswith("$.")
    assert states["ShowTags"]["Catch"][0]["ResultPath"].startswith("$.")
    assert all(state["Resource"].startswith("arn:aws:states:::aws-sdk:ec2:") for state in states.values())


def test_all_that_is_tried_ends_within_the_two_minutes(stack):
    definition = stack.properties("StateMachine")["Definition"]

    assert definition["TimeoutSeconds"] <= 90
    assert stack.properties("Rule")["Targets"][0]["RetryPolicy"]["MaximumEventAgeInSeconds"] <= 90


def test_the_tag_key_is_one_that_instance_metadata_can_show(stack):
    ((tag,),) = (stack.properties("StateMachine")["Definition"]["States"]["Tag"]["Parameters"]["Tags"],)

    assert re.fullmatch(r"[A-Za-z0-9+\-=.,_:@]+", tag["Key"])


@pytest.mark.parametrize(
    ("which", "condition"),
    [
        ("any", None),
        ("parallelcluster", {"aws:ResourceTag/parallelcluster:cluster-name": "mine"}),
        ("pcs", {"aws:ResourceTag/aws:pcs:cluster-id": "mine"}),
        ("hpc-agent", {"aws:ResourceTag/hpc-agent:cluster": "mine"}),
    ],
)
def test_it_may_set_this_one_tag_on_instances_of_this_account_and_cluster_and_no_more(template, which, condition):
    stack = Stack(template, TagKeyOf=which, Cluster="mine")
    statements = {one["Sid"]: one for one in stack.properties("StateMachinePolicy")["PolicyDocument"]["Statement"]}

    assert statements["Tag"]["Action"] == "ec2:CreateTags"
    assert statements["ShowTags"]["Action"] == "ec2:ModifyInstanceMetadataOptions"
    assert statements["Tag"]["Resource"] == statements["ShowTags"]["Resource"] == INSTANCE
    assert statements["Tag"]["Condition"]["ForAllValues:StringEquals"] == {"aws:TagKeys": ["hpc-agent:evacuate-by"]}
    assert statements["Tag"]["Condition"].get("StringLike") == condition
    assert statements["ShowTags"].get("Condition") == ({"StringLike": condition} if condition else None)
    assert {one["Resource"] for one in statements.values() if one["Sid"] not in {"Tag", "ShowTags"}} == {"*"}
    assert all(action.startswith("logs:") for action in statements["Log"]["Action"])


def test_the_rule_may_start_the_state_machine_and_nothing_else(stack):
    ((policy,),) = (stack.properties("RuleRole")["Policies"],)

    assert policy["PolicyDocument"]["Statement"] == [
        {"Effect": "Allow", "Action": "states:StartExecution", "Resource": "<StateMachine>"}
    ]
    assert stack.properties("Rule")["Targets"][0]["Arn"] == "<StateMachine>"


def test_it_holds_no_null_which_cloudformation_refuses(template):
    assert "null" not in json.dumps(template)


def test_nothing_in_the_cloud_runs_code_of_ours(template):
    kinds = {resource["Type"] for resource in template["Resources"].values()}

    assert not any(kind.startswith(("AWS::Lambda", "AWS::SSM", "AWS::EC2")) for kind in kinds)
