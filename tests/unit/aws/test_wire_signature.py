"""Our signatures are botocore's: whatever is asked, by whomever."""

from datetime import UTC, datetime

import pytest
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from hypothesis import given
from hypothesis import strategies as st

from agent.aws.wire.signature import UNSIGNED, Keys, canonical, encoded, signed

NOW = datetime(2026, 11, 27, 18, 5, 9, tzinfo=UTC)
HOST = "bucket.s3.eu-west-1.amazonaws.com"

text = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
printable = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=20)


class Unsigned(S3SigV4Auth):
    """botocore's signer of S3, at a time of ours, told to leave the body out."""

    def _should_sha256_sign_payload(self, request):
        return False


def theirs(monkeypatch, method, path, query, headers, keys, region):
    monkeypatch.setattr("botocore.auth.get_current_datetime", lambda: NOW.replace(tzinfo=None))
    url = f"https://{HOST}{path}" + (f"?{query}" if query else "")
    request = AWSRequest(method=method, url=url, headers=dict(headers))
    Unsigned(Credentials(keys.access, keys.secret, keys.token or None), "s3", region).add_auth(request)
    return request.headers["Authorization"]


def test_a_parameter_comes_before_those_whose_names_begin_with_its_own():
    assert canonical([("00", ""), ("0", "")]) == "0=&00="


@given(
    method=st.sampled_from(["GET", "PUT", "POST", "HEAD", "DELETE"]),
    key=text,
    query=st.dictionaries(text.filter(bool), text, max_size=4),
    values=st.lists(st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=20), max_size=3),
    token=st.one_of(st.just(""), printable),
    secret=printable,
)
def test_a_signature_is_the_one_that_botocore_makes(method, key, query, values, token, secret):
    with pytest.MonkeyPatch.context() as monkeypatch:
        path, asked = "/" + encoded(key), canonical(list(query.items()))
        keys = Keys("AKIAEXAMPLE", secret, token)
        headers = {f"x-amz-meta-{n}": value for n, value in enumerate(values)}
        ours = signed(method, path, asked, {"host": HOST, **headers}, keys=keys, region="eu-west-1", now=NOW)
        assert ours["authorization"] == theirs(monkeypatch, method, path, asked, headers, keys, "eu-west-1")


def test_the_body_is_left_out_and_the_time_is_that_of_the_clock():
    found = signed("PUT", "/k", "", {"host": HOST}, keys=Keys("A", "S"), region="us-east-1", now=NOW)
    assert (found["x-amz-content-sha256"], found["x-amz-date"]) == (UNSIGNED, "20261127T180509Z")
    assert "x-amz-security-token" not in found


def test_the_token_of_a_session_is_sent_and_signed():
    found = signed("PUT", "/k", "", {"host": HOST}, keys=Keys("A", "S", "T"), region="us-east-1", now=NOW)
    assert found["x-amz-security-token"] == "T"
    assert "x-amz-security-token" in found["authorization"]


def test_a_secret_is_not_shown():
    assert "hidden" not in repr(Keys("A", "hidden-secret", "hidden-token"))


def test_the_signature_is_the_one_of_the_documentation():
    """S3 API reference, "Examples: Signature Calculations", GET Object."""
    keys = Keys("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY")
    empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    headers = {"host": "examplebucket.s3.amazonaws.com", "range": "bytes=0-9", "x-amz-content-sha256": empty}
    now = datetime(2013, 5, 24, tzinfo=UTC)
    found = signed("GET", "/test.txt", "", headers, keys=keys, region="us-east-1", now=now)["authorization"]
    assert found.endswith("Signature=f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41")
