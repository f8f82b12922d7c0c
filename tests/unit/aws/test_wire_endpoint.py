"""Where a bucket answers, and who leads there."""

import pytest

from agent.aws.session import is_ordinary
from agent.aws.wire.endpoint import endpoint_of


@pytest.mark.parametrize(
    ("region", "host"),
    [
        ("eu-west-1", "scratch.s3.eu-west-1.amazonaws.com"),
        ("us-east-1", "scratch.s3.us-east-1.amazonaws.com"),
        ("us-gov-west-1", "scratch.s3.us-gov-west-1.amazonaws.com"),
        ("cn-north-1", "scratch.s3.cn-north-1.amazonaws.com.cn"),
        ("us-iso-east-1", "scratch.s3.us-iso-east-1.c2s.ic.gov"),
        ("us-isob-east-1", "scratch.s3.us-isob-east-1.sc2s.sgov.gov"),
        ("eusc-de-east-1", "scratch.s3.eusc-de-east-1.amazonaws.eu"),
    ],
)
def test_a_bucket_of_s3_has_a_host_of_its_own_in_its_partition(region, host):
    found = endpoint_of("scratch", region)
    assert (found.is_secure, found.host, found.port, found.authority, found.base) == (True, host, 443, host, "/")


@pytest.mark.parametrize("bucket", ["with.dots", "Upper"])
def test_a_bucket_whose_name_is_in_no_certificate_is_in_the_path(bucket):
    found = endpoint_of(bucket, "eu-west-1")
    assert (found.host, found.base) == ("s3.eu-west-1.amazonaws.com", f"/{bucket}/")


@pytest.mark.parametrize(
    ("url", "host", "port", "authority", "base"),
    [
        ("http://127.0.0.1:9000", "127.0.0.1", 9000, "127.0.0.1:9000", "/b/"),
        ("https://s3.example", "s3.example", 443, "s3.example", "/b/"),
        ("https://[fd00::1]:8443/store/", "fd00::1", 8443, "[fd00::1]:8443", "/store/b/"),
    ],
)
def test_an_endpoint_of_ones_own_has_the_bucket_in_the_path(url, host, port, authority, base):
    found = endpoint_of("b", "eu-west-1", url)
    assert (found.host, found.port, found.authority, found.base) == (host, port, authority, base)
    assert found.is_secure == url.startswith("https")
    assert url.startswith(found.url)


def config(tmp_path, text):
    path = tmp_path / "config"
    path.write_text(text)
    return {"AWS_CONFIG_FILE": str(path)}


def test_most_buckets_are_ordinary(tmp_path):
    assert is_ordinary("scratch", {"AWS_CONFIG_FILE": str(tmp_path / "none")})
    assert is_ordinary("scratch", config(tmp_path, "[default]\nregion = eu-west-1\n"))


@pytest.mark.parametrize("bucket", ["scratch--euw1-az1--x-s3", "arn:aws:s3:eu-west-1:123456789012:accesspoint/one"])
def test_a_directory_bucket_and_an_arn_are_left_to_the_library(bucket):
    assert not is_ordinary(bucket, {})


@pytest.mark.parametrize(
    "environ", [{"HTTPS_PROXY": "http://proxy:3128"}, {"https_proxy": "x"}, {"AWS_USE_FIPS_ENDPOINT": "true"}]
)
def test_proxies_and_other_endpoints_of_aws_are_left_to_the_library(environ):
    assert not is_ordinary("scratch", environ)


def test_a_profile_with_an_endpoint_is_left_to_the_library(tmp_path):
    assert not is_ordinary("scratch", config(tmp_path, "[default]\nendpoint_url = https://s3.example\n"))
