"""Signature Version 4, as S3 wants it: pure, and the body not in it.

Sources: IAM User Guide, "Create a signed AWS API request"; for S3 a path is encoded once.
"""

import hashlib
import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from typing import Final
from urllib.parse import quote

UNSIGNED: Final = "UNSIGNED-PAYLOAD"
_ALGORITHM: Final = "AWS4-HMAC-SHA256"


@dataclass(frozen=True, slots=True)
class Keys:
    """Who asks. `token` is "" for keys that do not end."""

    access: str
    secret: str = field(repr=False)
    token: str = field(default="", repr=False)


def encoded(path: str) -> str:
    """Return a path as it is signed and sent."""
    return quote(path, safe="/-_.~")


def canonical(query: Sequence[tuple[str, str]]) -> str:
    """Return a query as it is signed and sent: by name, in which "=" is no character."""
    pairs = sorted((quote(name, safe="-_.~"), quote(value, safe="-_.~")) for name, value in query)
    return "&".join(f"{name}={value}" for name, value in pairs)


def signed(
    method: str, path: str, query: str, headers: Mapping[str, str], *, keys: Keys, region: str, now: datetime
) -> dict[str, str]:
    """Return the headers of a request, all of them signed.

    `path` and `query` are encoded; the names of `headers` are in lower case, and `host` is among them.
    """
    stamp = f"{now:%Y%m%dT%H%M%SZ}"
    complete = {"x-amz-content-sha256": UNSIGNED, **headers, "x-amz-date": stamp}
    if keys.token:
        complete["x-amz-security-token"] = keys.token
    names = sorted(complete)
    lines = "".join(f"{name}:{' '.join(complete[name].split())}\n" for name in names)
    listed = ";".join(names)
    request = f"{method}\n{path}\n{query}\n{lines}\n{listed}\n{complete['x-amz-content-sha256']}"
    scope = f"{stamp[:8]}/{region}/s3/aws4_request"
    text = f"{_ALGORITHM}\n{stamp}\n{scope}\n{hashlib.sha256(request.encode()).hexdigest()}"
    signature = hmac.digest(_signing_key(keys.secret, stamp[:8], region), text.encode(), "sha256").hex()
    complete["authorization"] = (
        f"{_ALGORITHM} Credential={keys.access}/{scope}, SignedHeaders={listed}, Signature={signature}"
    )
    return complete


@lru_cache(maxsize=4)
def _signing_key(secret: str, day: str, region: str) -> bytes:
    key = b"AWS4" + secret.encode()
    for part in (day, region, "s3", "aws4_request"):
        key = hmac.digest(key, part.encode(), "sha256")
    return key
