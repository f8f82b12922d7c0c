import pytest

from agent.imds import documents
from agent.imds.identity import identify
from agent.imds.unavailable import ImdsGarbage, ImdsUnavailable, Reason
from tests.fakes.imds import FakeMetadata

DOCUMENT = b'{"instanceId":"i-1","instanceType":"p5.48xlarge","region":"eu-west-1","availabilityZone":"eu-west-1a"}'


async def test_identity_is_the_document_and_the_life_cycle():
    identity = await identify(
        FakeMetadata({documents.IDENTITY_DOCUMENT: DOCUMENT, documents.LIFE_CYCLE: b"capacity-block"})
    )
    assert (identity.instance_id, identity.life_cycle, identity.is_spot) == ("i-1", "capacity-block", False)
    assert identity.zone == "eu-west-1a"


async def test_an_old_instance_without_a_life_cycle_has_an_identity():
    identity = await identify(FakeMetadata({documents.IDENTITY_DOCUMENT: DOCUMENT}))
    assert identity.life_cycle == ""


async def test_no_document_is_garbage_not_an_empty_identity():
    with pytest.raises(ImdsGarbage):
        await identify(FakeMetadata())


async def test_an_imds_that_does_not_answer_is_passed_on():
    imds = FakeMetadata()
    imds.broken = Reason.FORBIDDEN
    with pytest.raises(ImdsUnavailable) as caught:
        await identify(imds)
    assert "HttpEndpoint" in caught.value.hint
