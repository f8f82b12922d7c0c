"""Who asks: keys out of the environment or from the instance's role, and from botocore whatever else there is.

The first two are what nodes have, and need none of botocore, whose import takes longer than many a checkpoint.
"""

import json
import time
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from threading import Lock
from typing import Any, Final, Protocol

from agent.aws.wire.metadata import Metadata
from agent.aws.wire.signature import Keys
from agent.store.base import StoreUnavailable

EARLY_SECONDS: Final = 600.0
"""Before their end keys are fetched anew. IMDS has the next ones at least 300 s before (EC2 User Guide)."""
_AGAIN_SECONDS: Final = 30.0
"""Between two questions for keys that are not there yet."""
_ROLE: Final = "meta-data/iam/security-credentials/"
_NONE: Final = "attach an instance profile, or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY; is IMDS reachable?"
_OTHERS: Final = (
    "AWS_PROFILE",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE",
)
"""What leads to keys in ways that botocore knows better."""
_FILES: Final = {"AWS_SHARED_CREDENTIALS_FILE": "~/.aws/credentials", "AWS_CONFIG_FILE": "~/.aws/config"}


class Credentials(Protocol):
    """Blocking; any thread may ask."""

    def keys(self) -> Keys:
        """Return keys that are good now. Raises StoreUnavailable: it may pass."""
        ...

    def refuse(self, keys: Keys) -> None:
        """Note that AWS calls these expired, whatever their own time says."""
        ...


def find(environ: Mapping[str, str], metadata: Metadata) -> Credentials:
    """Return where the keys come from, looked for in botocore's order."""
    access, secret = environ.get("AWS_ACCESS_KEY_ID"), environ.get("AWS_SECRET_ACCESS_KEY")
    if access and secret:
        return Fixed(Keys(access, secret, environ.get("AWS_SESSION_TOKEN", "")))
    if any(environ.get(name) for name in _OTHERS) or has_files(environ):
        return Library()
    return Role(metadata, is_off=environ.get("AWS_EC2_METADATA_DISABLED", "").lower() == "true")


def has_files(environ: Mapping[str, str]) -> bool:
    """Return whether there are files in which profiles may be."""
    return any(Path(environ.get(name) or default).expanduser().exists() for name, default in _FILES.items())


class Fixed:
    def __init__(self, keys: Keys) -> None:
        self._keys = keys

    def keys(self) -> Keys:
        return self._keys

    def refuse(self, keys: Keys) -> None:
        """Nothing can be done."""


class Role:
    """Keys of the instance's role, which end after hours."""

    def __init__(self, metadata: Metadata, *, is_off: bool = False) -> None:
        self._metadata = metadata
        self._is_off = is_off
        self._lock = Lock()
        self._keys: Keys | None = None
        self._ends = 0.0
        self._asked = float("-inf")

    def keys(self) -> Keys:
        with self._lock:
            left = self._ends - time.time()
            if self._keys is None or (left < EARLY_SECONDS and time.monotonic() - self._asked >= _AGAIN_SECONDS):
                self._renew(can_wait=left > 0)
            if self._keys is None:
                raise _missing("IMDS has none")
            return self._keys

    def refuse(self, keys: Keys) -> None:
        with self._lock:
            if keys == self._keys:
                self._keys = None

    def _renew(self, *, can_wait: bool) -> None:
        self._asked = time.monotonic()
        try:
            self._keys, self._ends = self._fetched()
        except StoreUnavailable:
            if self._keys is None or not can_wait:
                self._keys = None
                raise

    def _fetched(self) -> tuple[Keys, float]:
        if self._is_off:
            raise _missing("IMDS is switched off (AWS_EC2_METADATA_DISABLED)")
        role = self._metadata.get(_ROLE).split("\n")[0].strip()
        said = self._metadata.get(_ROLE + role) if role else ""
        try:
            document = json.loads(said)
            ends = datetime.fromisoformat(document["Expiration"]).timestamp()
            return Keys(document["AccessKeyId"], document["SecretAccessKey"], document["Token"]), ends
        except (ValueError, KeyError, TypeError) as error:
            raise _missing(f"IMDS gave none for the role {role!r}: {_told(said)}") from error


class Library:
    """Keys that botocore finds and renews: profiles, SSO, containers, web identity."""

    def __init__(self) -> None:
        self._found: Any = None
        self._lock = Lock()

    def keys(self) -> Keys:
        from agent.aws.errors import store_errors

        with store_errors("find", "the credentials"), self._lock:
            frozen = self._look().get_frozen_credentials()
        return Keys(frozen.access_key, frozen.secret_key, frozen.token or "")

    def refuse(self, keys: Keys) -> None:  # noqa: ARG002 - the next look finds others
        with self._lock:
            self._found = None

    @staticmethod
    def region() -> str:
        """Return the region of the profile, "" when it has none."""
        import botocore.session

        return str(botocore.session.Session().get_config_variable("region") or "")

    def _look(self) -> Any:
        import botocore.session

        if self._found is None:
            self._found = botocore.session.Session().get_credentials()
        if self._found is None:
            raise _missing("none were found")
        return self._found


def _told(said: str) -> str:
    """Return what IMDS says went wrong; never what it says in full, which may be half of the keys."""
    try:
        document = json.loads(said)
        return f"{document['Code']} {document.get('Message', '')}".strip()
    except (ValueError, KeyError, TypeError):
        return f"{len(said)} characters that are no keys"


def _missing(detail: str) -> StoreUnavailable:
    return StoreUnavailable("find", "the credentials", detail, hint=_NONE)
