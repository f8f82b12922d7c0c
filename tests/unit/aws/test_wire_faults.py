"""What a server, or what is between it and us, can do to a request on our own wire."""

import asyncio
import os
import socket
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from agent.aws.wire.opening import open_wire
from agent.checksum import crc64nvme, to_base64
from agent.errors import IntegrityMismatch
from agent.store.base import BodyRefused, ObjectMissing, StoreDenied, StoreUnavailable, UploadId
from tests.fakes.scripted import Say, Scripted, answer, refusal

MIB = 1024 * 1024
BODY = b"the quick brown fox"
CRC = crc64nvme(BODY)
LARGE = os.urandom(8 * MIB)


@pytest.fixture
def keys(monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.delenv("AWS_SESSION_TOKEN", raising=False)


@pytest.fixture
async def server(keys):
    async with Scripted().running() as running:
        yield running


def opened(server, patience=2.0, connections=2, **how):
    usual = dict.fromkeys(("expected_bucket_owner", "kms_key_id", "ca_bundle"), "")
    return open_wire(
        bucket="b",
        region="eu-west-1",
        endpoint_url=server.endpoint,
        connections=connections,
        patience=patience,
        **{**usual, **how},
    )


@pytest.fixture
async def store(server):
    async with opened(server) as running:
        yield running


async def put(store, body=BODY):
    await store.put("k", body, crc64nvme=crc64nvme(body))


async def test_an_idle_connection_that_was_closed_is_not_used_again(server, store):
    server.says = [answer(closes=True)]
    await put(store)
    await asyncio.sleep(0.05)
    await put(store)
    assert [asked.connection for asked in server.asked] == [1, 2]


async def test_a_connection_that_closes_under_a_request_is_made_anew_at_once(server, store):
    server.says = [answer(), Say(b"", closes=True)]
    await put(store)
    await put(store)
    assert [asked.connection for asked in server.asked] == [1, 1, 2]
    assert server.asked[-1].body == BODY


async def test_a_fresh_connection_that_closes_is_unavailable_and_not_tried_again_here(server, store):
    server.says = [Say(b"", closes=True)]
    with pytest.raises(StoreUnavailable, match="ended before the answer"):
        await put(store)
    assert len(server.asked) == 1


async def test_p2_what_may_have_been_done_is_not_sent_twice_when_doing_it_twice_matters(server, store):
    server.says = [answer(), Say(b"", closes=True), answer(), Say(b"", closes=True)]
    await put(store)
    with pytest.raises(StoreUnavailable):
        await store.put("head", BODY, crc64nvme=CRC, if_absent=True)
    await put(store)
    with pytest.raises(StoreUnavailable):
        await store.complete("k", UploadId("u"), [], crc64nvme=0)
    assert len(server.asked) == 4


async def test_connections_are_kept_for_the_next_request(server, store):
    for _ in range(5):
        await put(store)
    assert server.connections == 1


@pytest.mark.parametrize("code", ["SlowDown", "AccessDenied"])
@pytest.mark.parametrize("closes", [True, False])
async def test_an_answer_that_comes_while_the_body_is_sent_is_heard(server, store, code, closes):
    server.says = [refusal(503 if code == "SlowDown" else 403, code, closes=closes, after=MIB, Retry_After="1")]
    kind = StoreUnavailable if code == "SlowDown" else StoreDenied
    with pytest.raises(kind, match=code):
        await put(store, LARGE)
    await put(store)
    assert server.asked[-1].connection == 2, "half a request is still in the first one"


@pytest.mark.parametrize("closes", [True, False])
async def test_p2_a_body_that_is_not_out_is_not_stored_whatever_the_answer_says(server, store, closes):
    server.says = [answer(closes=closes, after=MIB)]
    with pytest.raises(StoreUnavailable, match="before the request was out"):
        await put(store, LARGE)


async def test_a_100_continue_that_nobody_asked_for_is_passed_over(server, store):
    good = answer().raw
    server.says = [Say(b"HTTP/1.1 100 Continue\r\n\r\n" + good), Say(b"HTTP/1.1 103 Hints\r\nLink: x\r\n\r\n" + good)]
    await put(store)
    await put(store)
    assert server.connections == 1


def chunked(*chunks, end=b"0\r\nX-Trailer: 1\r\n\r\n"):
    body = b"".join(b"%x;ext=1\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks)
    return Say(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + body + end)


async def test_a_body_in_chunks_is_put_together(server, store):
    server.says = [chunked(b"a" * 700_000, b"b", b"c" * 10), answer()]
    assert await store.get("k") == b"a" * 700_000 + b"b" + b"c" * 10
    await put(store)
    assert server.connections == 1


async def test_a_body_without_a_length_ends_with_its_connection(server, store):
    server.says = [Say(b"HTTP/1.1 200 OK\r\n\r\n" + BODY, closes=True)]
    assert await store.get("k") == BODY
    await put(store)
    assert server.connections == 2


@pytest.mark.parametrize(
    "raw",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort",
        b"HTTP/1.1 200 OK\r\nContent-Le",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nff\r\nshort",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-5\r\nshort",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nhuh?\r\n",
        b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
        b"<html>It works!</html>\r\n\r\n",
        b"HTTP/1.1 2x0 OK\r\n\r\n",
        b"\x16\x03\x01\x00\x05hello" * 20_000,
        b"",
    ],
)
async def test_p6_an_answer_that_is_cut_or_garbled_is_unavailable(server, store, raw):
    server.says = [Say(raw, closes=True)]
    with pytest.raises(StoreUnavailable):
        await store.get("k")
    await put(store)


@pytest.mark.parametrize("raw", [b"<html>sign in</html>", b"<html><body>", b"", b"\xff\xfe"])
async def test_p6_a_page_of_a_proxy_in_place_of_a_document_is_unavailable(server, store, raw):
    server.says = [answer(200, raw)]
    with pytest.raises(StoreUnavailable):
        await store.begin("k")


async def test_a_head_with_many_odd_headers_is_understood(server, store):
    odd = "".join(f"X-Odd-{n}: {'v' * 100}\r\n" for n in range(200)) + 'ETAG:  "e"  \r\nno colon\r\n'
    server.says = [Say(f"HTTP/1.1 200 OK\r\n{odd}content-LENGTH: 0\r\n\r\n".encode())]
    part = await store.put_part("k", UploadId("u"), 1, BODY, crc64nvme=CRC)
    assert part.etag == '"e"'


async def test_a_head_without_an_end_is_given_up(server, store):
    server.says = [Say(b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 50_000, closes=True)]
    with pytest.raises(StoreUnavailable, match="no end"):
        await put(store)


async def test_an_answer_that_drips_is_waited_for_as_long_as_it_moves(server):
    server.says = [Say(answer(200, BODY).raw, by=8, pause=0.1)]
    async with opened(server, patience=0.5) as store:
        assert await store.get("k") == BODY


async def test_a_server_that_takes_a_request_and_says_nothing_is_given_up(server):
    server.says = [Say(b"HTTP/1.1 200 OK\r\n", pause=3.0)]
    async with opened(server, patience=0.3) as store:
        began = time.monotonic()
        with pytest.raises(StoreUnavailable, match=r"nothing moved for 0\.3 s"):
            await put(store)
        assert time.monotonic() - began < 2


async def test_a_cancelled_request_gives_its_thread_back_at_once(server):
    server.says = [Say(b"HTTP/1.1 200 OK\r\n", pause=30.0)]
    async with opened(server, patience=60.0, connections=1) as store:
        asking = asyncio.create_task(put(store), name="put")
        await server.has_been_asked.wait()
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(asking, 2)
        await asyncio.wait_for(put(store), 2)


async def test_a_request_that_waits_for_a_thread_can_be_cancelled(server):
    server.says = [Say(b"HTTP/1.1 200 OK\r\n", pause=30.0)]
    async with opened(server, patience=60.0, connections=1) as store:
        first, second = (asyncio.create_task(put(store), name=f"put {n}") for n in range(2))
        await server.has_been_asked.wait()
        second.cancel()
        await asyncio.wait([second], timeout=2)
        assert second.cancelled()
        first.cancel()
        await asyncio.wait([first], timeout=2)
    assert len(server.asked) == 1


async def test_a_server_whose_clock_is_another_is_believed(server, store):
    theirs = datetime.now(UTC) + timedelta(hours=3)
    server.says = [refusal(403, "RequestTimeTooSkewed", Date=format_datetime(theirs, usegmt=True))]
    await put(store)
    await put(store)
    first, second, third = (asked.headers["x-amz-date"] for asked in server.asked)
    assert second[:11] == third[:11] == f"{theirs:%Y%m%dT%H}"
    assert first != second


async def test_a_clock_that_is_wrong_whatever_we_say_is_unavailable_with_a_hint(server, store):
    date = format_datetime(datetime.now(UTC), usegmt=True)
    server.says = [refusal(403, "RequestTimeTooSkewed", Date=date)] * 2
    with pytest.raises(StoreUnavailable, match="chronyc"):
        await put(store)
    assert len(server.asked) == 2


@pytest.mark.parametrize("status", [301, 400])
async def test_a_bucket_of_another_region_is_denied_with_the_name_of_that_region(server, store, status):
    code = "PermanentRedirect" if status == 301 else "AuthorizationHeaderMalformed"
    server.says = [refusal(status, code, x_amz_bucket_region="ap-south-1")]
    with pytest.raises(StoreDenied, match="ap-south-1"):
        await put(store)


async def test_a_refused_head_has_its_status_for_a_reason(server, store):
    server.says = [Say(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 243\r\n\r\n")]
    with pytest.raises(StoreDenied, match="s3:GetObject"):
        await store.head("k")
    await put(store)
    assert server.connections == 1


async def test_a_checksum_that_the_store_computed_otherwise_is_refused(server, store):
    server.says = [answer(x_amz_checksum_crc64nvme=to_base64(CRC ^ 1))]
    with pytest.raises(BodyRefused):
        await put(store)


async def test_a_completion_that_fails_after_its_200_is_unavailable(server, store):
    working = b'<?xml version="1.0" encoding="UTF-8"?>\n' + b" " * 100
    server.says = [answer(200, b"  \n" + working + b"<Error><Code>InternalError</Code></Error>")]
    with pytest.raises(StoreUnavailable, match="InternalError"):
        await store.complete("k", UploadId("u"), [], crc64nvme=0)


async def test_a_whole_object_in_place_of_a_range_is_not_taken(server, store):
    server.says = [answer(200, BODY)]
    taken = []
    with pytest.raises(IntegrityMismatch):
        await store.fetch("k", taken.append, offset=3, length=len(BODY))
    assert taken == []


async def test_an_endpoint_of_ipv6_is_reached(keys):
    async with Scripted().running("::1") as server, opened(server) as store:
        await put(store)
        assert server.asked[0].headers["host"].startswith("[::1]:")


async def test_a_name_with_several_addresses_is_reached_at_each_and_past_one_that_is_down(server, monkeypatch):
    port = int(server.endpoint.rpartition(":")[2])
    addresses = [(2, 1, 6, "", (f"127.0.0.{n}", port)) for n in (1, 2)]
    monkeypatch.setattr("socket.getaddrinfo", lambda *_, **__: addresses)
    server.endpoint = f"http://s3.example:{port}"
    async with opened(server, connections=4) as store:
        await asyncio.gather(*(put(store) for _ in range(4)))
    assert len(server.asked) == 4
    assert server.asked[0].headers["host"] == f"s3.example:{port}"


async def test_an_address_of_a_kind_that_the_kernel_does_not_have_is_passed_over(server, monkeypatch):
    """As `::` where IPv6 is switched off."""
    port = int(server.endpoint.rpartition(":")[2])
    addresses = [(family, 1, 6, "", ("127.0.0.1", port)) for family in (99, 2)]
    monkeypatch.setattr("socket.getaddrinfo", lambda *_, **__: addresses)
    server.endpoint = f"http://s3.example:{port}"
    async with opened(server) as store:
        await put(store)
        monkeypatch.setattr("agent.aws.wire.pool._NAMES_SECONDS", 0.0)
        del addresses[1]
        server.says = [answer(closes=True)]
        await put(store)
        with pytest.raises(StoreUnavailable, match="not supported"):
            await put(store)


async def test_p6_a_resolver_that_fails_leaves_the_addresses_that_are_known(server, monkeypatch):
    monkeypatch.setattr("agent.aws.wire.pool._NAMES_SECONDS", 0.0)
    port = int(server.endpoint.rpartition(":")[2])
    told = [[(2, 1, 6, "", ("127.0.0.1", port))]]

    def resolve(*_, **__):
        if not told:
            raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
        return told.pop()

    monkeypatch.setattr("socket.getaddrinfo", resolve)
    server.endpoint = f"http://s3.example:{port}"
    server.says = [answer(closes=True)]
    async with opened(server) as store:
        await put(store)
        await put(store)
    assert server.connections == 2


@pytest.mark.parametrize("key", ["a b", "100%41", "a+b", "ü/☃", "q?x=1&y#z", "//double//", "../up", "~-_.!*'()"])
async def test_a_key_is_sent_as_it_is_signed(server, store, key):
    from urllib.parse import unquote

    await store.put(key, BODY, crc64nvme=CRC)
    assert unquote(server.asked[0].target) == f"/b/{key}"
    assert "?" not in server.asked[0].target


class Reading:
    """A body that is read while it is sent."""

    size = len(LARGE)

    def read(self, offset, into):
        into[:] = LARGE[offset : offset + len(into)]


LARGE_CRC = {"x-amz-checksum-crc64nvme": to_base64(crc64nvme(LARGE))}


async def test_p2_a_server_that_does_not_tell_the_checksum_behind_a_body_gets_bodies_whole(server, store):
    server.says = [answer(), answer(), answer()]
    assert await store.put("k", Reading()) == crc64nvme(LARGE)
    await store.put("k", Reading())
    framed, *others = server.asked
    assert len(framed.body) > len(LARGE)
    assert [asked.body for asked in others] == [LARGE, LARGE]
    assert all(asked.headers["x-amz-checksum-crc64nvme"] == LARGE_CRC["x-amz-checksum-crc64nvme"] for asked in others)


@pytest.mark.parametrize("refused", [refusal(400, "InvalidArgument"), refusal(501, "NotImplemented")])
async def test_a_server_that_refuses_a_checksum_behind_a_body_gets_it_whole(server, store, refused):
    server.says = [refused, answer()]
    assert (await store.put_part("k", UploadId("u"), 1, Reading())).size == len(LARGE)
    assert server.asked[-1].body == LARGE


async def test_a_server_that_told_the_checksum_behind_a_body_once_is_believed(server, store):
    server.says = [answer(**LARGE_CRC), refusal(403, "AccessDenied")]
    await store.put("k", Reading())
    with pytest.raises(StoreDenied):
        await store.put("k", Reading())
    assert len(server.asked) == 2


async def test_what_is_refused_whole_as_well_says_nothing_about_how_it_came(server, store):
    denied = refusal(403, "AccessDenied")
    server.says = [denied, denied, answer(**LARGE_CRC)]
    with pytest.raises(StoreDenied):
        await store.put("k", Reading())
    await store.put("k", Reading())
    assert len(server.asked[-1].body) > len(LARGE)


async def test_a_body_that_another_server_damaged_is_refused_and_may_be_sent_again(server, store):
    other = {"x-amz-checksum-crc64nvme": to_base64(1)}
    server.says = [answer(**LARGE_CRC), answer(**other)]
    await store.put("k", Reading())
    with pytest.raises(BodyRefused):
        await store.put("k", Reading())


COPIED = "<CopyObjectResult><ETag>e</ETag>%s</CopyObjectResult>"


def copied(crc=None):
    checksum = "" if crc is None else f"<ChecksumCRC64NVME>{to_base64(crc)}</ChecksumCRC64NVME>"
    return answer(body=(COPIED % checksum).encode())


async def copy(store):
    await store.copy("a b", "k", size=len(BODY), crc64nvme=CRC)


async def test_a_copy_names_its_source_and_asks_for_the_checksum_that_we_compare(server):
    server.says = [copied(CRC)]
    async with opened(server, expected_bucket_owner="111122223333") as store:
        await copy(store)
    headers = server.asked[0].headers
    assert (server.asked[0].method, headers["x-amz-copy-source"]) == ("PUT", "b/a%20b")
    assert headers["x-amz-checksum-algorithm"] == "CRC64NVME"
    assert headers["x-amz-source-expected-bucket-owner"] == headers["x-amz-expected-bucket-owner"] == "111122223333"


@pytest.mark.parametrize(
    ("code", "kind"),
    [("InternalError", StoreUnavailable), ("SlowDown", StoreUnavailable), ("NoSuchKey", ObjectMissing)],
)
async def test_p2_a_copy_that_begins_well_and_ends_in_an_error_is_none(server, store, code, kind):
    server.says = [answer(body=b"  \n" + refusal(200, code).raw.partition(b"\r\n\r\n")[2])]
    with pytest.raises(kind, match=code):
        await copy(store)


async def test_a_copy_with_another_checksum_is_a_mismatch_and_not_made_again(server, store):
    server.says = [copied(CRC ^ 1)]
    with pytest.raises(IntegrityMismatch, match="S3 computed"):
        await copy(store)


@pytest.mark.parametrize("is_same", [True, False])
async def test_of_a_copy_whose_checksum_is_not_told_the_store_is_asked_what_it_is(server, store, is_same):
    about = {
        "Last_Modified": "Mon, 23 Nov 2026 09:15:00 GMT",
        "x_amz_checksum_crc64nvme": to_base64(CRC ^ (not is_same)),
    }
    raw = answer(body=BODY, **about).raw.partition(b"\r\n\r\n")[0] + b"\r\n\r\n"
    server.says = [copied(), Say(raw)]
    if is_same:
        await copy(store)
    else:
        with pytest.raises(IntegrityMismatch):
            await copy(store)
    assert [asked.method for asked in server.asked] == ["PUT", "HEAD"]
