"""Asks S3: requests are signed, refusals become the errors of the store port. Blocking; nothing is retried here.

But for a clock that is wrong: S3 says what time it is, and is believed from then on.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final, TypeVar

from agent.aws.answers import EXPIRED, Answer, judge
from agent.aws.wire.body import Held, Outgoing
from agent.aws.wire.connection import Lost
from agent.aws.wire.cord import Cord
from agent.aws.wire.credentials import Credentials
from agent.aws.wire.documents import Document
from agent.aws.wire.endpoint import Endpoint
from agent.aws.wire.line import Heard, Line, whole
from agent.aws.wire.message import Head, moment
from agent.aws.wire.signature import canonical, encoded, signed
from agent.store.base import StoreUnavailable
from agent.value import value

T = TypeVar("T")

REGION: Final = "x-amz-bucket-region"
_SKEWED: Final = "RequestTimeTooSkewed"


@value
class Request:
    """`operation` is S3's name of it; `op` and `subject` are for the error. `key` None asks for the bucket itself."""

    operation: str
    op: str
    subject: str
    method: str
    key: str | None
    query: Sequence[tuple[str, str]] = ()
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Outgoing = Held(b"")
    seconds: float = 0.0
    is_repeatable: bool = True
    hears_refusals: bool = False
    """A refusal is an answer, too."""


@dataclass(frozen=True, slots=True)
class _Refused:
    head: Head
    answer: Answer


class Client:
    """Any thread may ask."""

    def __init__(self, line: Line, endpoint: Endpoint, region: str, credentials: Credentials) -> None:
        self._line = line
        self._endpoint = endpoint
        self._region = region
        self._credentials = credentials
        self._clock_offset = 0.0

    @property
    def is_aws(self) -> bool:
        """Whether it is S3 that is asked, not something that speaks like it."""
        return self._endpoint.is_aws

    def ask(self, request: Request, cord: Cord, heard: Heard[T | Answer]) -> T:
        """Return what `heard` makes of an answer; it may find a refusal in one that looks good. Raises AgentError."""
        said = self._once(request, cord, heard)
        if isinstance(said, _Refused) and said.answer.code == _SKEWED and self._learn(said.head):
            said = self._once(request, cord, heard)
        if isinstance(said, _Refused):
            raise judge(said.answer, request.op, request.subject)
        return said

    def _once(self, request: Request, cord: Cord, heard: Heard[T | Answer]) -> T | _Refused:
        keys = self._credentials.keys()
        path = self._endpoint.base + encoded(request.key) if request.key is not None else self._endpoint.base
        query = canonical(request.query)
        headers = signed(
            request.method,
            path,
            query,
            {"host": self._endpoint.authority, **request.body.headers, **request.headers},
            keys=keys,
            region=self._region,
            now=datetime.fromtimestamp(time.time() + self._clock_offset, UTC),
        )

        def hear(head: Head, pieces: Iterator[memoryview]) -> T | _Refused:
            is_answer = head.status < 300 or (request.hears_refusals and REGION in head.headers)
            said = heard(head, pieces) if is_answer else refusal(request.operation, head, whole(pieces))
            return _Refused(head, said) if isinstance(said, Answer) else said

        target = f"{path}?{query}" if query else path
        try:
            said = self._line.ask(
                request.method,
                target,
                headers,
                request.body,
                cord,
                hear,
                seconds=request.seconds,
                is_repeatable=request.is_repeatable,
            )
        except Lost as lost:
            detail = f"{self._endpoint.url}: {lost.detail}"
            raise StoreUnavailable(request.op, request.subject, detail, hint=lost.hint) from lost
        if isinstance(said, _Refused) and said.answer.code in EXPIRED:
            self._credentials.refuse(keys)
        return said

    def _learn(self, head: Head) -> bool:
        """Take the time of S3 for ours; return whether it told any."""
        try:
            self._clock_offset = moment(head.headers.get("date", "")).timestamp() - time.time()
        except ValueError:
            return False
        return True


def refusal(operation: str, head: Head, raw: bytes, *, status: int = 0) -> Answer:
    """Return an error as S3 words it; one without words has its status for a code."""
    code, message, region = str(head.status), "", head.headers.get(REGION, "")
    if raw.lstrip().startswith(b"<"):
        document = Document(raw)
        code = document.text("Code") or code
        message = document.text("Message")
        region = region or document.text("Region")
    return Answer(
        operation=operation,
        status=status or head.status,
        code=code,
        message=message,
        request_id=head.headers.get("x-amz-request-id", ""),
        region=region,
    )
