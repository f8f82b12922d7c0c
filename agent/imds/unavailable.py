"""Why IMDS told us nothing. Unknown is not a notice (P5): whoever asks backs off and keeps what it knew."""

from enum import StrEnum
from types import MappingProxyType
from typing import Final

from agent.errors import TransientError


class Reason(StrEnum):
    """What went wrong, as a closed set: it is a label in the metrics."""

    UNAUTHORIZED = "unauthorized"
    FORBIDDEN = "forbidden"
    THROTTLED = "throttled"
    SERVER_ERROR = "server-error"
    UNEXPECTED_STATUS = "unexpected-status"
    TIMEOUT = "timeout"
    REFUSED = "refused"
    BROKEN = "broken"
    GARBAGE = "garbage"


HINTS: Final = MappingProxyType(
    {
        Reason.UNAUTHORIZED: "IMDS refuses the token it has just given out; is something between us and IMDS?",
        Reason.FORBIDDEN: "IMDS is switched off for this instance: HttpEndpoint=enabled turns it on",
        Reason.THROTTLED: "something on this node asks IMDS, DNS or NTP too often (1024 packets/s for all three)",
        Reason.SERVER_ERROR: "IMDS itself has trouble; it usually passes",
        Reason.UNEXPECTED_STATUS: "what answers at this address is perhaps not IMDS",
        Reason.TIMEOUT: "in a container the hop limit may be too low: HttpPutResponseHopLimit=2",
        Reason.REFUSED: "nothing listens at this address; is this an EC2 instance?",
        Reason.BROKEN: "the connection was cut inside the answer",
        Reason.GARBAGE: "what answers at this address is perhaps not IMDS",
    }
)


class ImdsUnavailable(TransientError):
    """IMDS gave no usable answer; `reason` says of what sort that was."""

    def __init__(self, op: str, subject: str, detail: str, *, reason: Reason, hint: str = "") -> None:
        super().__init__(op, subject, detail, hint=hint or HINTS[reason])
        self.reason = reason


class ImdsGarbage(ImdsUnavailable):
    """IMDS answered 200 with something that is not what belongs there."""

    def __init__(self, subject: str, detail: str, *, hint: str = "") -> None:
        super().__init__("read", subject, detail, reason=Reason.GARBAGE, hint=hint)
