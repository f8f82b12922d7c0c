"""How the store is opened: credentials, endpoint, certificates, and what goes with every request."""

import asyncio
import ipaddress
import ssl
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit

import aioboto3
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from agent.aws.region import DEFAULT, find_region
from agent.aws.session import open_store
from agent.chance import SeededChance
from agent.checksum import crc64nvme
from agent.demo.imds import EmbeddedImds
from agent.demo.imds import Fault as ImdsFault
from agent.store.base import StoreDenied, StoreUnavailable
from agent.store.retrying import Retrying
from tests.fakes.s3proxy import Fault, Kind, S3Proxy

pytestmark = pytest.mark.s3

BODY = b"the quick brown fox"
CRC = crc64nvme(BODY)
VARIABLES = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE", "AWS_REGION")


@pytest.fixture
def bare(monkeypatch, tmp_path):
    """An environment without credentials or files that could hold some."""
    for name in (*VARIABLES, "AWS_DEFAULT_REGION", "AWS_EC2_METADATA_DISABLED"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    return monkeypatch


@pytest.fixture
def aws(s3_server, bare):
    for name, value in s3_server.environment.items():
        bare.setenv(name, value)
    return s3_server


@pytest.fixture
async def imds(bare):
    running = EmbeddedImds()
    await running.start()
    bare.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", running.endpoint)
    yield running
    await running.stop()


def proxy_to(server, **how):
    address = urlsplit(server.endpoint)
    return S3Proxy((address.hostname, address.port), **how)


async def put(store, key="k"):
    await Retrying(store, SeededChance(1), lambda _: None, first=0.05).put(key, BODY, crc64nvme=CRC)


async def test_standard_variables_are_enough(aws):
    async with open_store(bucket=await aws.make_bucket()) as store:
        await put(store)
        assert await store.get("k") == BODY


async def test_credentials_come_from_the_instance_profile(s3_server, imds):
    bucket = await s3_server.make_bucket()
    # SeaweedFS knows no session tokens of others.
    imds.credentials(s3_server.access_key, s3_server.secret_key, "")
    async with open_store(bucket=bucket, endpoint_url=s3_server.endpoint) as store:
        await put(store)
        assert await store.get("k") == BODY


async def test_without_a_region_in_the_environment_it_is_the_instances(imds):
    assert await find_region(aioboto3.Session()) == "us-west-2"
    assert await find_region(aioboto3.Session(), "eu-west-1") == "eu-west-1"


async def test_the_region_of_the_environment_goes_before_the_instances(imds, bare):
    bare.setenv("AWS_REGION", "eu-central-1")
    assert await find_region(aioboto3.Session()) == "eu-central-1"


async def test_an_imds_that_does_not_tell_the_region_leaves_the_default(bare):
    bare.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", "http://127.0.0.1:1")
    assert await find_region(aioboto3.Session()) == DEFAULT


async def test_the_session_token_of_an_instance_profile_is_sent(s3_server, imds):
    imds.credentials("key", "secret", "session-token")
    async with proxy_to(s3_server) as proxy, open_store(bucket="any", endpoint_url=proxy.endpoint) as store:
        await proxy.fault(Fault(kind=Kind.ANSWER, status=200, code=""))
        await put(store)
        assert proxy.log[0].headers["x-amz-security-token"] == "session-token"


async def test_credentials_that_s3_calls_expired_are_fetched_anew(s3_server, imds):
    bucket = await s3_server.make_bucket()
    imds.credentials("old key", "secret", "")
    async with proxy_to(s3_server) as proxy, open_store(bucket=bucket, endpoint_url=proxy.endpoint) as store:
        imds.credentials(s3_server.access_key, s3_server.secret_key, "")  # the old ones end in hours, as they said
        await proxy.fault(Fault(kind=Kind.ANSWER, status=400, code="ExpiredToken", times=1))
        await put(store)
        assert await store.get("k") == BODY
        assert [seen.status for seen in proxy.log] == [400, 200, 200]


async def test_p7_credentials_that_rotate_in_the_middle_of_an_upload_do_not_end_it(s3_server, imds):
    bucket = await s3_server.make_bucket()
    imds.credentials(s3_server.access_key, s3_server.secret_key, "")
    async with proxy_to(s3_server) as proxy, open_store(bucket=bucket, endpoint_url=proxy.endpoint) as store:
        patient = Retrying(store, SeededChance(1), lambda _: None, first=0.05)
        upload = await patient.begin("k")
        first = await patient.put_part("k", upload, 1, bytes(5 << 20), crc64nvme=crc64nvme(bytes(5 << 20)))
        await proxy.fault(Fault(kind=Kind.ANSWER, method="PUT", status=400, code="ExpiredToken", times=1))
        second = await patient.put_part("k", upload, 2, BODY, crc64nvme=CRC)
        await patient.complete("k", upload, [first, second], crc64nvme=crc64nvme(bytes(5 << 20) + BODY))
        assert (await patient.head("k")).size == (5 << 20) + len(BODY)


async def test_p6_an_imds_that_is_down_when_credentials_expire_is_trouble_that_can_pass(s3_server, imds):
    bucket = await s3_server.make_bucket()
    imds.credentials(s3_server.access_key, s3_server.secret_key, "")
    async with proxy_to(s3_server) as proxy, open_store(bucket=bucket, endpoint_url=proxy.endpoint) as store:
        await imds.fault(ImdsFault.ERROR)
        await proxy.fault(Fault(kind=Kind.ANSWER, status=400, code="ExpiredToken", times=1))
        for _ in range(2):
            with pytest.raises(StoreUnavailable):
                await store.put("k", BODY, crc64nvme=CRC)
        await imds.fault(None)
        await store.put("k", BODY, crc64nvme=CRC)


async def test_p6_an_imds_that_is_down_is_trouble_that_can_pass(s3_server, imds):
    bucket = await s3_server.make_bucket()
    imds.credentials(s3_server.access_key, s3_server.secret_key, "")
    await imds.fault(ImdsFault.ERROR)
    with pytest.raises(StoreUnavailable, match="credentials"):
        async with open_store(bucket=bucket, endpoint_url=s3_server.endpoint):
            pass
    await imds.fault(None)
    async with open_store(bucket=bucket, endpoint_url=s3_server.endpoint) as store:
        await put(store)


async def test_a_wrong_secret_is_denied_with_a_hint_at_credentials(aws, bare):
    bare.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    async with open_store(bucket="any") as store:
        with pytest.raises(StoreDenied, match="credentials"):
            await put(store)


async def test_a_bucket_that_does_not_exist_is_denied_with_a_hint_at_the_setting(aws):
    async with open_store(bucket="no-such-bucket") as store:
        with pytest.raises(StoreDenied, match=r"s3\.bucket"):
            await put(store)


async def test_an_endpoint_where_nobody_listens_is_unavailable(aws):
    async with open_store(bucket="any", endpoint_url="http://127.0.0.1:1") as store:
        with pytest.raises(StoreUnavailable, match=r"http://127\.0\.0\.1:1: Connection refused"):
            await store.head("k")


async def test_an_endpoint_whose_name_is_unknown_is_unavailable(aws):
    async with open_store(bucket="any", endpoint_url="http://s3.invalid") as store:
        with pytest.raises(StoreUnavailable):
            await store.head("k")


async def test_owner_and_key_go_with_the_requests(aws):
    async with (
        proxy_to(aws) as proxy,
        open_store(
            bucket=await aws.make_bucket(),
            endpoint_url=proxy.endpoint,
            expected_bucket_owner="123456789012",
            kms_key_id="alias/scratch",
        ) as store,
    ):
        # Whether SeaweedFS cares for owners and keys is not the point.
        await asyncio.gather(
            store.put("k", BODY, crc64nvme=CRC), store.begin("k"), store.head("k"), return_exceptions=True
        )
    by_method = {seen.method: seen.headers for seen in proxy.log}
    assert {headers["x-amz-expected-bucket-owner"] for headers in by_method.values()} == {"123456789012"}
    for method in ("PUT", "POST"):
        assert by_method[method]["x-amz-server-side-encryption"] == "aws:kms"
        assert by_method[method]["x-amz-server-side-encryption-aws-kms-key-id"] == "alias/scratch"
    assert "x-amz-server-side-encryption" not in by_method["HEAD"]


async def test_no_more_connections_are_opened_than_were_asked_for(aws):
    async with proxy_to(aws) as proxy:
        async with open_store(bucket=await aws.make_bucket(), endpoint_url=proxy.endpoint, connections=2) as store:
            await asyncio.gather(*(put(store, f"k{n}") for n in range(8)))
        assert len(proxy.log) >= 8
        assert proxy.most_connections == 2


@pytest.fixture
def certificate(tmp_path):
    """A certificate of its own authority for 127.0.0.1: the file that holds it with its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "private")])
    now = datetime.now(UTC)
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = signed.public_bytes(serialization.Encoding.PEM)
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    both = tmp_path / "both.pem"
    both.write_bytes(pem + secret)
    return both


@pytest.fixture
def tls(certificate):
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    return context


@pytest.mark.parametrize("how", ["setting", "variable"])
async def test_an_endpoint_with_a_private_authority_is_trusted_when_told_so(aws, bare, certificate, tls, how):
    if how == "variable":
        bare.setenv("AWS_CA_BUNDLE", str(certificate))
    bundle = str(certificate) if how == "setting" else ""
    bucket = await aws.make_bucket()
    async with (
        proxy_to(aws, tls=tls) as proxy,
        open_store(bucket=bucket, endpoint_url=proxy.endpoint, ca_bundle=bundle) as store,
    ):
        await put(store)
        assert proxy.log[0].headers["x-amz-content-sha256"] == "UNSIGNED-PAYLOAD"
        assert await store.get("k") == BODY


async def test_an_endpoint_that_is_not_trusted_gets_nothing(aws, tls):
    async with proxy_to(aws, tls=tls) as proxy, open_store(bucket="any", endpoint_url=proxy.endpoint) as store:
        with pytest.raises(StoreUnavailable, match="AWS_CA_BUNDLE"):
            await store.head("k")
    assert proxy.log == []
