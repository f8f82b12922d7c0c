"""Each thing that goes wrong between us and S3: the error it becomes, and that trying again gets over it."""

import asyncio
import os
from urllib.parse import urlsplit

import pytest

from agent.aws.session import open_store
from agent.chance import SeededChance
from agent.checksum import crc64nvme
from agent.errors import IntegrityMismatch
from agent.store.base import ObjectExists, ObjectMissing, StoreDenied, StoreUnavailable
from agent.store.retrying import Retrying
from tests.fakes.s3proxy import Fault, Kind, ProxyProcess, S3Proxy

pytestmark = pytest.mark.s3

BODY = os.urandom(3 * 1024 * 1024)
CRC = crc64nvme(BODY)


@pytest.fixture
async def proxy(s3_server):
    address = urlsplit(s3_server.endpoint)
    async with S3Proxy((address.hostname, address.port)) as running:
        yield running


@pytest.fixture
def aws(s3_server, monkeypatch):
    for name, value in s3_server.environment.items():
        monkeypatch.setenv(name, value)
    return s3_server


@pytest.fixture
async def store(aws, proxy):
    bucket = await aws.make_bucket()
    async with open_store(bucket=bucket, endpoint_url=proxy.endpoint, patience=3.0) as opened:
        # The first object of a bucket makes SeaweedFS grow volumes, which may take longer than we have patience for.
        await Retrying(opened, SeededChance(1), lambda _: None).put("warm", b"", crc64nvme=0)
        proxy.log.clear()
        yield opened


async def put(store, **how):
    await store.put("k", BODY, crc64nvme=CRC, **how)


ON_THE_WAY = {
    "slow down": Fault(kind=Kind.ANSWER),
    "internal error": Fault(kind=Kind.ANSWER, status=500, code="InternalError"),
    "expired token": Fault(kind=Kind.ANSWER, status=400, code="ExpiredToken"),
    "conflict": Fault(kind=Kind.ANSWER, status=409, code="ConditionalRequestConflict"),
    "reset at once": Fault(kind=Kind.RESET),
    "reset in the body": Fault(kind=Kind.RESET, after=1024 * 1024),
    "hang": Fault(kind=Kind.HANG),
    "stall in the body": Fault(kind=Kind.STALL, after=256 * 1024),
    "reply lost": Fault(kind=Kind.LOSE_REPLY),
    "down": Fault(kind=Kind.DOWN),
}


@pytest.mark.parametrize("fault", ON_THE_WAY.values(), ids=ON_THE_WAY)
async def test_p6_a_put_that_is_broken_on_its_way_is_unavailable_and_nothing_else(store, proxy, fault):
    await proxy.fault(fault)
    with pytest.raises(StoreUnavailable):
        async with asyncio.timeout(5):
            await put(store)
    await proxy.lift()
    await put(store)
    assert await store.get("k") == BODY


@pytest.mark.parametrize("fault", ON_THE_WAY.values(), ids=ON_THE_WAY)
async def test_p6_uploads_go_on_when_the_store_is_back(store, proxy, fault):
    troubled = asyncio.Event()
    said = []

    def waiting(text):
        said.append(text)
        troubled.set()

    await proxy.fault(fault)
    patient = Retrying(store, SeededChance(1), waiting, first=0.05)
    async with asyncio.timeout(20), asyncio.TaskGroup() as crew:
        crew.create_task(put(patient), name="put")
        await troubled.wait()
        await proxy.lift()
    assert await store.get("k") == BODY
    assert said[0]
    assert said[-1] == ""


async def test_nothing_is_retried_below_the_retrying_layer(store, proxy):
    await proxy.fault(Fault(kind=Kind.ANSWER))
    with pytest.raises(StoreUnavailable):
        await put(store)
    assert [(seen.method, seen.status) for seen in proxy.log] == [("PUT", 503)]


async def test_a_forbidden_put_is_permanent_and_says_what_to_look_at(store, proxy):
    await proxy.fault(Fault(kind=Kind.ANSWER, status=403, code="AccessDenied"))
    with pytest.raises(StoreDenied, match="s3:PutObject"):
        await put(store)


async def test_p2_a_head_stored_by_a_put_whose_reply_was_lost_is_found_at_the_next_try(store, proxy):
    await proxy.fault(Fault(kind=Kind.LOSE_REPLY, times=1))
    with pytest.raises(ObjectExists):
        await Retrying(store, SeededChance(1), lambda _: None, first=0.0).put("h", BODY, crc64nvme=CRC, if_absent=True)
    assert (await store.head("h")).crc64nvme == CRC


async def test_a_slow_store_is_waited_for(store, proxy):
    await proxy.fault(Fault(kind=Kind.LATENCY, seconds=0.5))
    await put(store)
    assert await store.get("k") == BODY


async def begun(store):
    upload = await store.begin("big")
    return upload, [await store.put_part("big", upload, 1, BODY, crc64nvme=CRC)]


async def test_an_error_in_the_body_of_a_200_on_complete_is_unavailable(store, proxy):
    upload, parts = await begun(store)
    await proxy.fault(Fault(kind=Kind.COMPLETE_ERROR))
    with pytest.raises(StoreUnavailable, match="InternalError"):
        await store.complete("big", upload, parts, crc64nvme=CRC)
    with pytest.raises(ObjectMissing):
        await store.head("big")
    await proxy.lift()
    await store.complete("big", upload, parts, crc64nvme=CRC)
    assert (await store.head("big")).size == len(BODY)


async def test_an_upload_whose_complete_lost_its_reply_completes(store, proxy):
    upload, parts = await begun(store)
    await proxy.fault(Fault(kind=Kind.LOSE_REPLY, method="POST", times=1))
    await Retrying(store, SeededChance(1), lambda _: None, first=0.0).complete("big", upload, parts, crc64nvme=CRC)
    assert (await store.head("big")).crc64nvme == CRC


@pytest.mark.parametrize("fault", [Fault(kind=Kind.CUT, after=1000), Fault(kind=Kind.CUT), Fault(kind=Kind.ANSWER)])
async def test_an_answer_cut_short_is_unavailable_and_got_whole_at_the_next_try(store, proxy, fault):
    await put(store)
    await proxy.fault(fault)
    with pytest.raises(StoreUnavailable):
        await store.get("k")
    await proxy.lift()
    assert await store.get("k") == BODY


async def test_a_get_damaged_on_its_way_is_for_the_readers_checksum(store, proxy):
    await put(store)
    await proxy.fault(Fault(kind=Kind.CORRUPT, method="GET"))
    data = await store.get("k")
    assert len(data) == len(BODY)
    assert crc64nvme(data) != CRC


async def test_a_recorded_range_that_is_not_there_is_not_tried_again(store):
    await put(store)
    with pytest.raises(IntegrityMismatch):
        await Retrying(store, SeededChance(1), lambda _: None).get("k", offset=len(BODY) - 1, length=2)


async def test_bodies_go_without_asking_first_and_without_a_signature_over_them(store, proxy):
    await put(store)
    sent = proxy.log[0]
    assert (sent.method, sent.received) == ("PUT", len(BODY))
    assert "aws-chunked" not in sent.headers.get("content-encoding", "")
    assert "expect" not in sent.headers
    assert "transfer-encoding" not in sent.headers
    assert sent.headers["x-amz-content-sha256"] == "UNSIGNED-PAYLOAD"
    assert "x-amz-checksum-crc64nvme" in sent.headers
    assert "x-amz-checksum-crc32" not in sent.headers


def test_the_proxy_as_a_process_counts_and_breaks_what_passes(aws, tmp_path):
    bucket = aws.bucket()
    with ProxyProcess("127.0.0.1:0", urlsplit(aws.endpoint).netloc, tmp_path / "control") as proxy:

        async def save():
            async with open_store(bucket=bucket, endpoint_url=proxy.endpoint) as store:
                await put(Retrying(store, SeededChance(1), lambda _: proxy.control.lift(), first=0.0))

        proxy.control.fault(Kind.ANSWER)
        asyncio.run(save())
        seen = proxy.control.log()
        assert [(each.method, each.key, each.status) for each in seen[:2]] == [("PUT", "k", 503), ("PUT", "k", 200)]
        assert proxy.control.received("PUT", "k") == 2 * len(BODY)
        proxy.control.forget()
        assert proxy.control.log() == []
