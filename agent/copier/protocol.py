"""What control and copier say to each other: one JSON object a line over a socketpair.

Control says Setup first. Then, one after the other: Save, and from then on Until (the deadline has moved), Finish
(commit what is there) or Record (store a document); or Scan. Enter says what the orders from now on weigh, Rest that
there are none for now. The copier answers Scan with Scanned; Save with any number of Moved, Committed and Waiting, then
Copied when all is sent, and Saved as the answer to Finish. Refused is the answer to anything that can't be done. End of
file on either side ends the copier.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, field, fields
from typing import Any, Final, get_args

from agent.errors import PermanentError
from agent.model.progress import Progress
from agent.value import value

LONGEST: Final = 8 << 20
"""Bytes of a line: a head with a thousand names of files left behind fits many times."""


class NotUnderstood(PermanentError):
    """The other side speaks another language."""


@value
class Setup:
    """What holds for all orders, of the settings: sizes in bytes, `retention` in seconds, texts empty if not given."""

    paths: list[str]
    exclude: list[str] = field(default_factory=list)
    priority: list[str] = field(default_factory=list)
    bucket: str
    prefix: str
    expected_bucket_owner: str = ""
    kms_key_id: str = ""
    region: str = ""
    endpoint: str = ""
    ca_bundle: str = ""
    retention: float
    connections: int
    most_connections: int
    part_size: int
    pack_below: int
    pack_size: int


@value
class Enter:
    """Go into this cgroup: what is asked from now on has its weight."""

    group: str


@value
class Rest:
    """There is nothing more to do for now: let go of what the last orders needed."""


@value
class Save:
    """Copy the scratch and commit as it goes. `node` are the fields of a Node, `begun` a record to store meanwhile.

    `jobs` are what the head says of the jobs of the node (`agent.jobs.record`), but for what only the copy tells.
    `exclude` are patterns beside those of the settings; `only` are the paths below which alone is saved, None is
    everything. `cache` is the directory of the last head that is built on,
    empty for none. Of what is new, files that changed after `changed_before` (seconds since 1970) are left, and so is
    what comes after `most_bytes`. `bytes_per_second` is how fast it may send. After `until` (monotonic seconds,
    the same for all processes) nothing counts: what can't become whole by then gives way to what can.
    """

    checkpoint: str
    reason: str
    node: Mapping[str, str]
    notice: Mapping[str, Any] | None = None
    commit_every: float
    receipts: str = ""
    begun: Mapping[str, Any] | None = None
    exclude: list[str] = field(default_factory=list)
    only: list[str] | None = None
    jobs: list[Mapping[str, Any]] = field(default_factory=list)
    cache: str = ""
    changed_before: float | None = None
    most_bytes: int | None = None
    bytes_per_second: int | None = None
    until: float | None = None


@value
class Until:
    """What is being saved has until then; `until` as for Save. Not answered."""

    until: float | None


@value
class Scan:
    """Find out how much is not saved; nothing is read or sent. `cache` and `exclude` as for Save.

    `layers` are directories to count the bytes of.
    """

    cache: str = ""
    exclude: list[str] = field(default_factory=list)
    layers: list[str] = field(default_factory=list)


@value
class Scanned:
    """The answer to Scan: files that are new or changed, when the oldest of them changed (seconds since 1970).

    `by_age` says how many bytes changed at least so many seconds ago, the oldest first. `seconds` and `cpu_seconds` are
    what it took, the start of the copier included if this is the first thing it did.
    """

    files: int
    bytes: int
    oldest: float | None
    by_age: list[tuple[float, int]] = field(default_factory=list)
    total_files: int
    total_bytes: int
    layer_bytes: int = 0
    seconds: float
    cpu_seconds: float


@value
class Finish:
    """Send no more; commit what is there and answer Saved."""


@value
class Record:
    """Store a document under outcomes/; answer Recorded. `name` is its key without the prefix."""

    name: str
    document: Mapping[str, Any]


@value
class Moved:
    """The copy has come this far. `requests` counts by "operation outcome"."""

    progress: Progress
    requests: Mapping[str, int] = field(default_factory=dict)


@value
class Waiting:
    """S3 does not do what it is asked and is asked again: `what` says why, empty when it is over."""

    what: str
    hint: str = ""


@value
class Committed:
    """S3 has acknowledged a head; `saved` is what `record.saved_of` reads."""

    saved: Mapping[str, Any]


@value
class Copied:
    """All that the walk saw is sent, but for what `trouble` names."""

    trouble: tuple[str, ...] = ()


@value
class Saved:
    """The answer to Finish: the last head is committed."""

    saved: Mapping[str, Any]
    trouble: tuple[str, ...] = ()


@value
class Recorded:
    """The answer to Record."""

    name: str


@value
class Refused:
    """`what` was asked can't be done: the parts of an AgentError."""

    asked: str
    what: str
    hint: str


Order = Setup | Enter | Save | Until | Scan | Finish | Record | Rest
Answer = Moved | Waiting | Committed | Scanned | Copied | Saved | Recorded | Refused
Message = Order | Answer
TYPES: Final = {cls.__name__: cls for cls in get_args(Order) + get_args(Answer)}


def encode(message: Message) -> bytes:
    """Return `message` as one line."""
    return json.dumps({"type": type(message).__name__, **asdict(message)}, separators=(",", ":")).encode() + b"\n"


def decode(line: bytes) -> Message:
    """Return the message in `line`. Raises NotUnderstood."""
    try:
        document = json.loads(line)
        cls = TYPES[document.pop("type")]
        if cls is Moved:
            document["progress"] = Progress(**document["progress"])
        if "trouble" in {f.name for f in fields(cls)}:
            document["trouble"] = tuple(document["trouble"])
        message: Message = cls(**document)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise NotUnderstood("read", "message", repr(error)) from error
    return message
