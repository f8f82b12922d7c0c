"""Errors as AWS words them, and what each means to whoever asked."""

from typing import Final

from agent.errors import AgentError, IntegrityMismatch
from agent.store.base import BodyRefused, ObjectExists, ObjectMissing, StoreDenied, StoreUnavailable, UploadMissing
from agent.value import value

_CLOCK = "the clock of this machine is wrong: see chronyc tracking"
CREDENTIALS: Final = "the credentials are not valid for this endpoint: see the instance profile, or AWS_* variables"
_REGION = "the bucket is in another region: set AWS_REGION to the bucket's"
_BUCKET = "no such bucket: see setting s3.bucket"
_KMS = "see setting s3.kms_key_id and the key's policy (kms:GenerateDataKey, kms:Decrypt)"
TRUST: Final = "the endpoint's certificate is not trusted: see AWS_CA_BUNDLE"

EXPIRED = ("ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired")
"""Codes for credentials that were good once."""

_PERMISSIONS = {
    "PutObject": "s3:PutObject",
    "CopyObject": "s3:GetObject or s3:PutObject",
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
    **dict.fromkeys(EXPIRED, (StoreUnavailable, CREDENTIALS)),
    "RequestTimeTooSkewed": (StoreUnavailable, _CLOCK),
    "RequestExpired": (StoreUnavailable, _CLOCK),
    "InvalidToken": (StoreDenied, CREDENTIALS),
    "InvalidAccessKeyId": (StoreDenied, CREDENTIALS),
    "SignatureDoesNotMatch": (StoreDenied, CREDENTIALS),
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
    501: (StoreDenied, ""),  # "A header you provided implies functionality that is not implemented"
}


@value
class Answer:
    """An error as AWS worded it."""

    operation: str
    status: int
    code: str
    message: str
    request_id: str
    region: str = ""
    """Where the bucket is, when AWS says so."""

    @property
    def detail(self) -> str:
        said = f"{self.operation}: {self.code}" + (f": {self.message}" if self.message else "")
        return f"{said} (HTTP {self.status}, request {self.request_id or 'without an id'})"


def judge(said: Answer, op: str, subject: str) -> AgentError:
    """Return the error of ours that says what the caller can do about theirs."""
    kind, hint = _BY_CODE.get(said.code) or _by_status(said)
    if hint == _REGION and said.region:
        hint = f"the bucket is in {said.region}: set AWS_REGION"
    return kind(op, subject, said.detail, hint=hint)


def _by_status(said: Answer) -> tuple[type[AgentError], str]:
    if said.code.startswith("KMS."):
        return StoreDenied, _KMS
    if said.status == 403:
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
