"""The metadata service as the doctor finds it."""

import json

import pytest

from agent.doctor.http import NoAnswer
from agent.doctor.metadata import look_at_clock, look_at_imds
from agent.imds import documents
from agent.imds.unavailable import Reason
from tests.fakes.doctor import levels
from tests.fakes.imds import FakeMetadata

DOCUMENT = json.dumps({"instanceId": "i-0123", "instanceType": "c7gd.large", "availabilityZone": "eu-west-1a"}).encode()


def metadata():
    return FakeMetadata({documents.IDENTITY_DOCUMENT: DOCUMENT, documents.LIFE_CYCLE: b"spot"})


def answering(status):
    async def ask():
        if isinstance(status, Exception):
            raise status
        return status

    return ask


async def test_an_instance_that_answers_only_with_a_token_is_green():
    findings, identity = await look_at_imds(metadata(), answering(401))
    assert levels(findings) == {"imds": "green", "identity": "green"}
    assert findings[1].detail == "i-0123  c7gd.large  eu-west-1a  spot"
    assert identity.instance_id == "i-0123"


async def test_the_old_version_that_still_answers_is_yellow():
    findings, _ = await look_at_imds(metadata(), answering(200))
    assert levels(findings) == {"imds": "yellow", "identity": "green"}
    assert "HttpTokens=required" in findings[0].hint


async def test_no_answer_to_the_old_version_is_not_held_against_it():
    findings, _ = await look_at_imds(metadata(), answering(NoAnswer("ask", "x", "y")))
    assert levels(findings) == {"imds": "green", "identity": "green"}


@pytest.mark.parametrize(("reason", "hint"), [(Reason.FORBIDDEN, "HttpEndpoint"), (Reason.TIMEOUT, "HopLimit")])
async def test_a_service_that_does_not_answer_is_red_and_who_we_are_unknown(reason, hint):
    imds = metadata()
    imds.broken = reason
    findings, identity = await look_at_imds(imds, answering(401))
    assert levels(findings) == {"imds": "red", "identity": "unknown"}
    assert hint in findings[0].hint
    assert identity is None


@pytest.mark.parametrize(
    ("skew", "level"), [(0.4, "green"), (-4.9, "green"), (6, "yellow"), (-29, "yellow"), (31, "red"), (None, "unknown")]
)
def test_the_clock_is_judged_by_how_far_it_is_off(skew, level):
    assert look_at_clock(skew).level == level


def test_it_says_which_way_the_clock_is_off():
    assert "behind" in look_at_clock(12).detail
    assert "ahead" in look_at_clock(-12).detail
