"""The IMDSv2 client: a session token, one keep-alive connection, a time limit on every question.

From the EC2 User Guide ("Access instance metadata"): the token is asked with PUT /latest/api/token and lives 1 to
21600 s; 401 means that it is no longer good; 403 that IMDS is switched off; 404 is the normal answer to "is there a
notice?". Content types are not looked at: JSON comes as text/plain. A limit of 1024 packets/s is shared by IMDS, DNS
and NTP, hence the one connection. Proxies of the environment are never used.
"""

import asyncio
import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from email.utils import parsedate_to_datetime
from types import MappingProxyType
from typing import Final, Self, TypeVar
from urllib.parse import urlsplit

import aiohttp

from agent.clock import Clock
from agent.errors import SettingsInvalid
from agent.imds.unavailable import ImdsGarbage, ImdsUnavailable, Reason
from agent.value import value

T = TypeVar("T")

ENDPOINT: Final = "http://169.254.169.254"
LONGEST_TOKEN: Final = 21600
BODY_LIMIT: Final = 64 * 1024
CONNECT_SECONDS: Final = 0.5
TTL_HEADER: Final = "X-aws-ec2-metadata-token-ttl-seconds"
TOKEN_HEADER: Final = "X-aws-ec2-metadata-token"  # noqa: S105 - the name of a header

FOUND: Final = "found"
ABSENT: Final = "absent"

_TOKEN: Final = re.compile(r"[!-~]{1,1024}")
_TTL: Final = re.compile(r"[0-9]{1,5}")
_MOST_EARLY: Final = 60.0


@value
class _Token:
    text: str
    refresh_at: float


@value
class _Answer:
    status: int
    body: bytes
    headers: Mapping[str, str]


class Imds:
    """Metadata of this instance. May be shared by any number of tasks; used as `async with Imds(...) as imds`.

    `endpoint` has the form of AWS_EC2_METADATA_SERVICE_ENDPOINT (`http://[fd00:ec2::254]` for IPv6). `seconds` limits
    one question from the moment it has the connection, the token it may need included.
    """

    def __init__(
        self, *, clock: Clock, endpoint: str = ENDPOINT, seconds: float = 1.0, token_seconds: int = LONGEST_TOKEN
    ) -> None:
        self._base = f"{_checked(endpoint)}/latest/"
        self._clock = clock
        self._seconds = seconds
        self._token_seconds = token_seconds
        self._token: _Token | None = None
        # One question at a time. All that is not urgent waits in a lane of its own, so that an urgent question has at
        # most the one question before it that is already on the wire, however many others hang.
        self._lane = asyncio.Lock()
        self._wire = asyncio.Lock()
        self._requests = dict.fromkeys((FOUND, ABSENT, *map(str, Reason)), 0)
        self._last_success: float | None = None
        self._epoch_at_zero: float | None = None

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=1, keepalive_timeout=30),
            timeout=aiohttp.ClientTimeout(total=self._seconds, sock_connect=CONNECT_SECONDS),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            trust_env=False,
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()

    @property
    def last_success(self) -> float | None:
        """When IMDS last gave a usable answer, in `loop.time()`; None when it never did."""
        return self._last_success

    @property
    def requests(self) -> Mapping[str, int]:
        """Questions so far by how they ended: "found", "absent" and every Reason, each present from the start."""
        return MappingProxyType(self._requests)

    @property
    def skew(self) -> float | None:
        """Seconds that IMDS is ahead of our wall clock, by the `Date` of its last answer; None before the first.

        `Date` has whole seconds, so this is right to about a second, plus half of what the answer took. It is kept
        against the monotonic clock: a jump of our wall clock shows at once.
        """
        if self._epoch_at_zero is None:
            return None
        return self._epoch_at_zero + asyncio.get_running_loop().time() - self._clock.now().timestamp()

    async def get(self, path: str, *, urgent: bool = False) -> bytes | None:
        """Return what is at `path` below /latest/, None when nothing is there. Raises ImdsUnavailable."""
        return await self.read(path, bytes, urgent=urgent)

    async def read(self, path: str, parse: Callable[[bytes], T], *, urgent: bool = False) -> T | None:
        """See agent.imds.metadata."""
        try:
            async with nullcontext() if urgent else self._lane, self._wire:
                body = await self._ask(path)
            value = None if body is None else parse(body)
        except ImdsUnavailable as error:
            self._requests[error.reason] += 1
            raise
        self._requests[ABSENT if body is None else FOUND] += 1
        self._last_success = asyncio.get_running_loop().time()
        return value

    async def _ask(self, path: str) -> bytes | None:
        with _border(path):
            async with asyncio.timeout(self._seconds):
                answer = await self._send("GET", path, {TOKEN_HEADER: await self._good_token()})
                if answer.status == 401:
                    self._token = None
                    answer = await self._send("GET", path, {TOKEN_HEADER: await self._good_token()})
        if answer.status == 404:
            return None
        if answer.status != 200:
            if answer.status == 401:
                self._token = None
            raise _refusal("GET", path, answer.status)
        return answer.body

    async def _good_token(self) -> str:
        now = asyncio.get_running_loop().time()
        if self._token is None or now >= self._token.refresh_at:
            self._token = await self._new_token(now)
        return self._token.text

    async def _new_token(self, asked_at: float) -> _Token:
        answer = await self._send("PUT", "api/token", {TTL_HEADER: str(self._token_seconds)})
        if answer.status != 200:
            raise _refusal("PUT", "api/token", answer.status)
        text = answer.body.decode("ascii", "replace").strip()
        if not _TOKEN.fullmatch(text):
            raise ImdsGarbage("api/token", f"not a token: {text[:60]!r}")
        given = answer.headers.get(TTL_HEADER, "")
        life = int(given) if _TTL.fullmatch(given) else self._token_seconds
        return _Token(text=text, refresh_at=asked_at + life - min(_MOST_EARLY, 0.1 * life))

    async def _send(self, method: str, path: str, headers: Mapping[str, str]) -> _Answer:
        loop = asyncio.get_running_loop()
        begun = loop.time()
        async with self._session.request(method, self._base + path, headers=headers, allow_redirects=False) as response:
            body = await _limited(response, path)
            if response.status in {200, 404}:
                self._note_date(response.headers.get("Date", ""), (begun + loop.time()) / 2)
            return _Answer(status=response.status, body=body, headers=response.headers)

    def _note_date(self, date: str, at: float) -> None:
        try:
            said = parsedate_to_datetime(date).timestamp()
        except (ValueError, OverflowError):
            return
        # The seconds are cut off, not rounded: on the average half of one is missing.
        self._epoch_at_zero = said + 0.5 - at


def _checked(endpoint: str) -> str:
    name = "AWS_EC2_METADATA_SERVICE_ENDPOINT"
    try:
        parts = urlsplit(endpoint)
        well = parts.scheme in {"http", "https"} and parts.hostname and (parts.port is None or parts.port > 0)
    except ValueError as error:
        raise SettingsInvalid("read", name, f"{endpoint!r}: {error}") from error
    if not well:
        raise SettingsInvalid("read", name, f"{endpoint!r} is not of the form http://ADDRESS[:PORT]")
    return endpoint.rstrip("/")


async def _limited(response: aiohttp.ClientResponse, path: str) -> bytes:
    body = bytearray()
    async for piece in response.content.iter_any():
        body += piece
        if len(body) > BODY_LIMIT:
            response.close()
            raise ImdsGarbage(path, f"more than {BODY_LIMIT} bytes")
    return bytes(body)


def _refusal(method: str, path: str, status: int) -> ImdsUnavailable:
    known = {401: Reason.UNAUTHORIZED, 403: Reason.FORBIDDEN, 429: Reason.THROTTLED}
    reason = known.get(status, Reason.SERVER_ERROR if status >= 500 else Reason.UNEXPECTED_STATUS)
    return ImdsUnavailable(method, path, f"HTTP status {status}", reason=reason)


@contextmanager
def _border(path: str) -> Iterator[None]:
    """Turn the library's errors into ours. TimeoutError comes first: aiohttp's own are both that and ClientError."""
    try:
        yield
    except TimeoutError as error:
        raise ImdsUnavailable("ask for", path, "no answer in time", reason=Reason.TIMEOUT) from error
    except aiohttp.ClientConnectorError as error:
        raise ImdsUnavailable("ask for", path, _unreached(error), reason=Reason.REFUSED) from error
    except (aiohttp.ClientPayloadError, aiohttp.ClientConnectionError) as error:
        raise ImdsUnavailable("ask for", path, str(error) or repr(error), reason=Reason.BROKEN) from error
    except aiohttp.ClientError as error:
        raise ImdsUnavailable("ask for", path, f"not HTTP: {error}", reason=Reason.GARBAGE) from error


def _unreached(error: aiohttp.ClientConnectorError) -> str:
    """Return the system's words: those of asyncio and aiohttp hide them in the repr of an address."""
    said = os.strerror(error.errno) if error.errno else str(error.os_error)
    return f"{error.host}:{error.port}: {said}"
