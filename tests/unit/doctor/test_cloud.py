"""What EC2 and Auto Scaling tell the doctor."""

import pytest

from agent.doctor.cloud import look_at_hook, look_at_rights, look_at_vpc
from agent.imds import documents
from agent.imds.unavailable import Reason
from agent.model.node import Identity, InstanceId
from agent.settings import load
from tests.fakes.doctor import Children, levels
from tests.fakes.imds import FakeMetadata

SETTINGS = load(None, {})
DENIED = {
    "error": "describe the instance to EC2: UnauthorizedOperation",
    "hint": "ec2:DescribeInstances",
    "sort": "denied",
}


def machine(life_cycle="on-demand"):
    return Identity(instance_id=InstanceId("i-1"), region="eu-west-1", life_cycle=life_cycle)


async def rights(answer, *, identity=None, settings=SETTINGS):
    children = Children({"agent.aws.reservation": answer})
    return await look_at_rights(settings, children, identity or machine()), children


async def test_both_rights_are_tried_by_one_child():
    finding, children = await rights({"none": True})
    assert finding.level == "green"
    assert "--reservation cr-00000000000000000" in children.asked[0]


async def test_a_block_that_ec2_tells_is_shown_with_its_end():
    block = {"id": "cr-1", "type": "capacity-block", "end": "2026-11-26T11:30:00.000Z"}
    finding, _ = await rights({"reservation": block}, identity=machine("capacity-block"))
    assert finding.level == "green"
    assert "cr-1, ends 2026-11-26T11:30:00.000Z" in finding.detail


async def test_a_missing_right_is_yellow_and_in_a_capacity_block_red():
    assert (await rights(DENIED))[0].level == "yellow"
    finding, _ = await rights(DENIED, identity=machine("capacity-block"))
    assert (finding.level, finding.hint) == ("red", "ec2:DescribeInstances")


async def test_a_configured_end_stands_in_for_the_right():
    settings = load(None, {"HPC_AGENT_CAPACITY_BLOCK__END": "2026-11-26T11:30:00Z"})
    assert (await rights(DENIED, identity=machine("capacity-block"), settings=settings))[0].level == "yellow"


async def test_throttling_says_nothing_of_the_right():
    assert (await rights({**DENIED, "sort": "throttled"}))[0].level == "unknown"


async def test_spot_needs_no_such_right_and_none_is_asked_for():
    finding, children = await rights(DENIED, identity=machine("spot"))
    assert (finding.level, children.asked) == ("green", [])


async def test_without_a_name_nothing_of_aws_is_asked():
    children = Children({})
    imds = FakeMetadata()
    findings = [await look_at_rights(SETTINGS, children, None), await look_at_hook(imds, children, None)]
    findings += await look_at_vpc(SETTINGS, children, None)
    assert set(levels(findings).values()) == {"unknown"}
    assert children.asked == []


async def hook(answer, target=b"InService"):
    imds = FakeMetadata({documents.TARGET_STATE: target} if target else {})
    children = Children({"agent.aws.lifecycle": answer})
    return await look_at_hook(imds, children, machine()), children


async def test_outside_a_group_there_is_no_hook_to_keep():
    finding, children = await hook(DENIED, target=None)
    assert (finding.level, children.asked) == ("green", [])


async def test_a_heartbeat_that_is_taken_is_green_and_no_hook_is_completed():
    finding, children = await hook({"done": [], "group": "g"})
    assert finding.level == "green"
    assert "lifecycle heartbeat" in children.asked[0]
    assert children.envs == [{"AWS_REGION": "eu-west-1"}]


@pytest.mark.parametrize(
    ("sort", "level", "hint"),
    [("denied", "yellow", "CompleteLifecycleAction"), ("absent", "yellow", "add one"), ("unavailable", "unknown", "")],
)
async def test_a_hook_that_can_not_be_kept_says_why(sort, level, hint):
    finding, _ = await hook({"error": "e", "hint": "add one", "sort": sort})
    assert finding.level == level
    assert hint in finding.hint


async def test_a_group_that_imds_does_not_tell_is_unknown():
    imds = FakeMetadata()
    imds.broken = Reason.TIMEOUT
    assert (await look_at_hook(imds, Children({}), machine())).level == "unknown"


GATEWAY = {"id": "vpce-1", "type": "Gateway", "routed": True}


@pytest.mark.parametrize(
    ("endpoints", "level"),
    [
        ([GATEWAY], "green"),
        ([{**GATEWAY, "routed": False}], "yellow"),
        ([{**GATEWAY, "routed": None}], "unknown"),
        ([{**GATEWAY, "routed": False, "type": "Interface"}], "green"),
        ([], "yellow"),
        (None, "unknown"),
    ],
)
async def test_the_way_to_s3_is_an_endpoint_that_this_subnet_uses(endpoints, level):
    children = Children({"agent.aws.vpc": {"options": {"hop_limit": 2, "tokens": "required"}, "endpoints": endpoints}})
    findings = await look_at_vpc(SETTINGS, children, machine())
    assert levels(findings) == {"s3 endpoint": level, "hop limit": "green"}


async def test_what_ec2_does_not_tell_is_unknown_and_says_what_to_allow():
    findings = await look_at_vpc(SETTINGS, Children({"agent.aws.vpc": {"options": None, "endpoints": None}}), machine())
    assert levels(findings) == {"s3 endpoint": "unknown", "hop limit": "unknown"}
    assert "ec2:DescribeVpcEndpoints" in findings[0].hint


async def test_directory_buckets_have_an_endpoint_of_their_own():
    children = Children({})
    settings = load(None, {"HPC_AGENT_S3__BUCKET": "b--euw1-az1--x-s3"})
    await look_at_vpc(settings, children, machine())
    assert "--service s3express" in children.asked[0]
