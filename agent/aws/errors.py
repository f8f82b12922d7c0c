"""What the AWS libraries raise, turned into the errors of the store port, in this one place."""

import contextlib
import http
from collections.abc import Iterator
from dataclasses import dataclass

import aiohttp
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    NoCredentialsError,
    ParamValidationError,
    SSLError,
)
from botocore.parsers import ResponseParserError

from agent.errors import AgentError, IntegrityMismatch, PermanentError
from agent.store.base import BodyRefused, ObjectExists, ObjectMissing, StoreDenied, StoreUnavailable, UploadMissing

_CLOCK = "the clock of this machine is wrong: see chronyc tracking"
_CREDENTIALS = "the credentials are not valid for this endpoint: see the instance profile, or AWS_* variables"
_REGION = "the bucket is in another region: set AWS_REGION to the bucket's"
_BUCKET = "no such bucket: see setting s3.bucket"
_KMS = "see setting s3.kms_key_id and the key's policy (kms:GenerateDataKey, kms:Decrypt)"
_TRUST = "the endpoint's certificate is not trusted: see AWS_CA_BUNDLE"

EXPIRED = ("ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired")
"""Codes for credentials that were good once."""

_PERMISSIONS = {
    "PutObject": "s3:PutObject",
    "CreateMultipartUpload": "s3:PutObject",
    "UploadPart": "s3:PutObject",
    "CompleteMultipartUpload": "s3:PutObject",
    "AbortMultipartUpload": "s3:AbortMultipartUpload",
    "ListParts": "s3:ListMultipartUploadParts",
    "GetObject": "s3:GetObject",
    "HeadObject": "s3:GetObject (without s3:ListBucket a missing object is 403 too)",
    "ListObjectsV2": "s3:ListBucket",
    "GetCallerIdentity": "sts:GetCallerIdentity",
}

# Codes that mean the same whatever the operation and the HTTP status (S3 API reference, "Error responses"; a 200 that
# carries an error arrives as a 500 with the code of its body). What is not here is judged by its status.
_BY_CODE: dict[str, tuple[type[AgentError], str]] = {
    "BadDigest": (BodyRefused, ""),
    "InvalidDigest": (BodyRefused, ""),
    "XAmzContentChecksumMismatch": (BodyRefused, ""),
    "XAmzContentSHA256Mismatch": (BodyRefused, ""),
    "IncompleteBody": (BodyRefused, ""),
    "NoSuchUpload": (UploadMissing, ""),
    "InvalidPart": (UploadMissing, "the store does not have the parts that were named"),
    "InvalidPartOrder": (UploadMissing, "the parts were named out of order"),
    "NoSuchBucket": (StoreDenied, _BUCKET),
    "NoSuchKey": (ObjectMissing, ""),
    "PreconditionFailed": (ObjectExists, ""),
    "InvalidRange": (IntegrityMismatch, "the object is shorter than what was recorded of it"),
    "ConditionalRequestConflict": (StoreUnavailable, ""),
    "OperationAborted": (StoreUnavailable, ""),
    "RequestTimeout": (StoreUnavailable, ""),
    "ThrottlingException": (StoreUnavailable, ""),
    "KMS.ThrottlingException": (StoreUnavailable, ""),
    # Credentials of an instance rotate: the next call has the new ones.
    **dict.fromkeys(EXPIRED, (StoreUnavailable, _CREDENTIALS)),
    "RequestTimeTooSkewed": (StoreUnavailable, _CLOCK),
    "RequestExpired": (StoreUnavailable, _CLOCK),
    "InvalidToken": (StoreDenied, _CREDENTIALS),
    "InvalidAccessKeyId": (StoreDenied, _CREDENTIALS),
    "SignatureDoesNotMatch": (StoreDenied, _CREDENTIALS),
    "InvalidObjectState": (StoreDenied, "the object is in an archive class: restore it in S3 first"),
    "PermanentRedirect": (StoreDenied, _REGION),
    "AuthorizationHeaderMalformed": (StoreDenied, _REGION),
    "IllegalLocationConstraintException": (StoreDenied, _REGION),
}
_BY_STATUS: dict[int, tuple[type[AgentError], str]] = {
    301: (StoreDenied, _REGION),
    307: (StoreDenied, _REGION),
    404: (ObjectMissing, ""),
    408: (StoreUnavailable, ""),
    409: (StoreUnavailable, ""),
    412: (ObjectExists, ""),
    416: _BY_CODE["InvalidRange"],
    429: (StoreUnavailable, ""),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """An error as AWS worded it."""

    operation: str
    status: int
    code: str
    message: str
    request_id: str

    @property
    def detail(self) -> str:
        said = f"{self.operation}: {self.code}" + (f": {self.message}" if self.message else "")
        return f"{said} (HTTP {self.status}, request {self.request_id or 'without an id'})"


@contextlib.contextmanager
def store_errors(op: str, subject: str) -> Iterator[None]:
    """Raise the store's errors, with `op` and `subject` in them, in place of the libraries' own."""
    try:
        yield
    except ClientError as error:
        raise judge(answer(error), op, subject) from error
    except SSLError as error:
        raise StoreUnavailable(op, subject, str(error), hint=_TRUST) from error
    except NoCredentialsError as error:
        raise StoreUnavailable(op, subject, "no credentials were found", hint=_CREDENTIALS) from error
    except ParamValidationError as error:
        raise PermanentError(op, subject, str(error)) from error
    except (BotoCoreError, ResponseParserError, aiohttp.ClientError, OSError) as error:
        # TimeoutError is an OSError.
        raise StoreUnavailable(op, subject, str(error) or type(error).__name__) from error


def answer(error: ClientError) -> Answer:
    """Return what AWS said."""
    said = error.response.get("Error", {})
    meta = error.response.get("ResponseMetadata", {})
    return Answer(
        operation=error.operation_name,
        status=int(meta.get("HTTPStatusCode", 0)),
        code=str(said.get("Code", "")),
        message=str(said.get("Message", "")),
        request_id=str(meta.get("RequestId", "")),
    )


def judge(said: Answer, op: str, subject: str) -> AgentError:
    """Return the error of ours that says what the caller can do about theirs."""
    kind, hint = _BY_CODE.get(said.code) or _by_status(said)
    return kind(op, subject, said.detail, hint=hint)


def _by_status(said: Answer) -> tuple[type[AgentError], str]:
    if said.code.startswith("KMS."):
        return StoreDenied, _KMS
    if said.status == http.HTTPStatus.FORBIDDEN:
        return StoreDenied, _forbidden(said.operation)
    if said.status in _BY_STATUS:
        return _BY_STATUS[said.status]
    return (StoreDenied, "") if 400 <= said.status < 500 else (StoreUnavailable, "")


def _forbidden(operation: str) -> str:
    """Return the causes of a 403, which all look the same from here."""
    permission = _PERMISSIONS.get(operation, f"permission for {operation}")
    return (
        f"missing {permission}, or a bucket policy, a VPC endpoint policy, the KMS key's policy or another owner than "
        "s3.expected_bucket_owner forbids it"
    )
