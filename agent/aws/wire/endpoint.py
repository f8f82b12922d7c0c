"""Where a bucket answers."""

import re
from typing import Final
from urllib.parse import urlsplit

from agent.value import value

_SUFFIXES: Final = {
    "cn-": "amazonaws.com.cn",
    "us-iso-": "c2s.ic.gov",
    "us-isob-": "sc2s.sgov.gov",
    "us-isoe-": "cloud.adc-e.uk",
    "us-isof-": "csp.hci.ic.gov",
    "eusc-": "amazonaws.eu",
}
"""Of the regions whose partition has another than amazonaws.com (botocore's partitions.json)."""
_ITS_OWN: Final = tuple(f".{suffix}" for suffix in ("amazonaws.com", *_SUFFIXES.values()))
_HOST_LABEL: Final = re.compile(r"[a-z0-9][a-z0-9-]{1,61}[a-z0-9]")


@value
class Endpoint:
    """`authority` is for the Host header; `base` stands before a key: "/" or "/bucket/"."""

    is_secure: bool
    host: str
    port: int
    authority: str
    base: str

    @property
    def url(self) -> str:
        """Without a key: what a person looks for who can't reach it."""
        return f"{'https' if self.is_secure else 'http'}://{self.authority}"

    @property
    def is_aws(self) -> bool:
        """Whether S3 itself answers there, be it at an interface endpoint of a VPC."""
        return self.is_secure and self.host.endswith(_ITS_OWN)


def endpoint_of(bucket: str, region: str, url: str = "") -> Endpoint:
    """Return where `bucket` is: below `url` where there is one of one's own, else at S3 in `region`.

    A private endpoint rarely has a host name for each bucket; nor has a name with dots a certificate.
    """
    if url:
        return at(url, f"/{bucket}/")
    suffix = next((suffix for start, suffix in _SUFFIXES.items() if region.startswith(start)), "amazonaws.com")
    host = f"s3.{region}.{suffix}"
    if _HOST_LABEL.fullmatch(bucket):
        return at(f"https://{bucket}.{host}", "/")
    return at(f"https://{host}", f"/{bucket}/")


def at(url: str, base: str) -> Endpoint:
    """Return the endpoint that a URL names; keys are below its path and `base`."""
    parts = urlsplit(url)
    is_secure = parts.scheme == "https"
    return Endpoint(
        is_secure=is_secure,
        host=parts.hostname or "",
        port=parts.port or (443 if is_secure else 80),
        authority=parts.netloc.rpartition("@")[2],
        base=parts.path.rstrip("/") + base,
    )
