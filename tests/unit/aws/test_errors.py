"""Every answer of AWS and every failure of the libraries becomes the error that says what to do."""

import asyncio

import aiohttp
import pytest
from botocore.exceptions import (
    ClientError,
    ConnectionClosedError,
    ConnectTimeoutError,
    CredentialRetrievalError,
    EndpointConnectionError,
    HTTPClientError,
    IncompleteReadError,
    NoCredentialsError,
    NoRegionError,
    ParamValidationError,
    ReadTimeoutError,
    SSLError,
)
from botocore.parsers import ResponseParserError

from agent.aws.errors import store_errors
from agent.errors import AgentError, IntegrityMismatch, PermanentError
from agent.store.base import BodyRefused, ObjectExists, ObjectMissing, StoreDenied, StoreUnavailable, UploadMissing

URL = "https://s3.example"


def said(status, code, operation="PutObject", message="because"):
    return ClientError(
        {
            "Error": {"Code": code, "Message": message},
            "ResponseMetadata": {"HTTPStatusCode": status, "RequestId": "REQ1"},
        },
        operation,
    )


def raised(error):
    with pytest.raises(AgentError) as caught, store_errors("put", "s3://b/k"):
        raise error
    assert caught.value.__cause__ is error
    return caught.value


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (503, "SlowDown", StoreUnavailable),
        (503, "ServiceUnavailable", StoreUnavailable),
        (500, "InternalError", StoreUnavailable),
        (502, "502", StoreUnavailable),
        (429, "TooManyRequests", StoreUnavailable),
        (400, "RequestTimeout", StoreUnavailable),
        (400, "ThrottlingException", StoreUnavailable),
        (400, "ExpiredToken", StoreUnavailable),
        (403, "ExpiredToken", StoreUnavailable),
        (403, "RequestTimeTooSkewed", StoreUnavailable),
        (409, "ConditionalRequestConflict", StoreUnavailable),
        (409, "OperationAborted", StoreUnavailable),
        (400, "BadDigest", BodyRefused),
        (400, "IncompleteBody", BodyRefused),
        (412, "PreconditionFailed", ObjectExists),
        (404, "NoSuchKey", ObjectMissing),
        (404, "404", ObjectMissing),
        (404, "NoSuchBucket", StoreDenied),
        (404, "NoSuchUpload", UploadMissing),
        (400, "InvalidPart", UploadMissing),
        (400, "EntityTooSmall", StoreDenied),
        (416, "InvalidRange", IntegrityMismatch),
        (416, "416", IntegrityMismatch),
        (403, "AccessDenied", StoreDenied),
        (403, "403", StoreDenied),
        (403, "InvalidAccessKeyId", StoreDenied),
        (403, "SignatureDoesNotMatch", StoreDenied),
        (301, "PermanentRedirect", StoreDenied),
        (400, "AuthorizationHeaderMalformed", StoreDenied),
        (400, "KMS.DisabledException", StoreDenied),
        (403, "InvalidObjectState", StoreDenied),
        (405, "MethodNotAllowed", StoreDenied),
        (0, "", StoreUnavailable),
    ],
)
def test_an_answer_becomes_the_error_that_says_what_to_do(status, code, kind):
    assert type(raised(said(status, code))) is kind


@pytest.mark.parametrize(
    "error",
    [
        EndpointConnectionError(endpoint_url=URL, error="refused"),
        ConnectTimeoutError(endpoint_url=URL),
        ReadTimeoutError(endpoint_url=URL),
        ConnectionClosedError(endpoint_url=URL),
        IncompleteReadError(actual_bytes=1, expected_bytes=2),
        HTTPClientError(error="odd"),
        SSLError(endpoint_url=URL, error="self-signed"),
        CredentialRetrievalError(provider="iam-role", error_msg="IMDS is silent"),
        NoCredentialsError(),
        NoRegionError(),
        ResponseParserError("not XML"),
        aiohttp.ClientPayloadError("cut"),
        ConnectionResetError(104, "reset"),
        TimeoutError(),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_never_became_an_answer_is_worth_another_try(error):
    assert type(raised(error)) is StoreUnavailable


def test_a_request_that_can_never_be_sent_is_not_tried_again():
    error = raised(ParamValidationError(report="Invalid bucket name"))
    assert isinstance(error, PermanentError)
    assert not isinstance(error, StoreDenied)


def test_p6_a_403_names_operation_request_and_every_cause():
    text = str(raised(said(403, "AccessDenied")))
    for part in (
        "put s3://b/k",
        "PutObject",
        "AccessDenied",
        "REQ1",
        "s3:PutObject",
        "endpoint policy",
        "KMS",
        "owner",
    ):
        assert part in text


@pytest.mark.parametrize(
    ("status", "code", "hint"),
    [
        (404, "NoSuchBucket", "s3.bucket"),
        (301, "PermanentRedirect", "AWS_REGION"),
        (403, "RequestTimeTooSkewed", "clock"),
        (400, "KMS.DisabledException", "s3.kms_key_id"),
        (403, "InvalidAccessKeyId", "credentials"),
    ],
)
def test_an_operator_is_told_where_to_look(status, code, hint):
    assert hint in raised(said(status, code)).hint


def test_an_untrusted_certificate_points_at_the_bundle():
    assert "AWS_CA_BUNDLE" in raised(SSLError(endpoint_url=URL, error="self-signed")).hint


def test_cancelling_passes_through():
    with pytest.raises(asyncio.CancelledError), store_errors("put", "s3://b/k"):
        raise asyncio.CancelledError


def test_a_bug_is_not_taken_for_trouble_with_the_store():
    with pytest.raises(KeyError), store_errors("put", "s3://b/k"):
        raise KeyError("ETag")
