"""The keys of everything a checkpoint is made of, built and parsed strictly: `docs/format.md`, "Keys".

All are without the prefix, but for what `full` returns. A key that comes from a stored document is checked here before
anything is read from it: the writer stands at its fixed depth, and nothing climbs.
"""

import re
from datetime import UTC, datetime
from urllib.parse import quote

from agent.chance import Chance
from agent.clock import Clock
from agent.model.checkpoint import CheckpointId
from agent.value import value

NAME_BYTES = 120

_PART = r"(?!\.{1,2}/)[A-Za-z0-9._-]{1,128}"
_WRITER = r"(?!\.{1,2}/)[A-Za-z0-9_+=,.@:-]{1,256}"
_ID = r"\d{8}T\d{6}\.\d{3}Z-[0-9a-f]{8}"
_COUNT = r"[1-9]\d{0,17}"
_COUNTER = rf"(?:0|{_COUNT})"
_ESCAPED = r"(?!\.{1,2}\Z)(?:[A-Za-z0-9._~-]|%[0-9A-F]{2})+"

_HEAD = re.compile(
    rf"checkpoints/(?P<cluster>{_PART})/(?P<node>{_PART})/(?P<writer>{_WRITER})/"
    rf"(?P<checkpoint>{_ID})\.(?P<n>{_COUNT})\.json",
    re.ASCII,
)
_PASS = rf"data/{_WRITER}/{_ID}"
_SEGMENT = re.compile(rf"{_PASS}/seg-{_COUNTER}\.jsonl\.gz", re.ASCII)
_DATA = re.compile(rf"{_PASS}/(?:f{_COUNTER}/{_ESCAPED}|p{_COUNTER}\.tar|seg-{_COUNTER}\.jsonl\.gz)", re.ASCII)
_PACK = re.compile(rf"{_PASS}/p{_COUNTER}\.tar", re.ASCII)
_CHECKPOINT = re.compile(_ID, re.ASCII)


@value
class HeadKey:
    """What the key of a head says about it."""

    cluster: str
    node: str
    writer: str
    checkpoint: CheckpointId
    n: int


def new_id(clock: Clock, chance: Chance) -> str:
    """Return a new id of a checkpoint or of a pass: `20261123T091500.123Z-1a2b3c4d`. Ids sort by time."""
    return f"{_moment(clock.now())}-{chance.token(8)}"


def is_id(text: str) -> bool:
    return _CHECKPOINT.fullmatch(text) is not None


def id_time(checkpoint: str) -> datetime:
    """Return when an id was made. Raises ValueError for what is no id or no time."""
    if not is_id(checkpoint):
        raise ValueError(f"not an id: {checkpoint!r}")
    return datetime.strptime(checkpoint[:19], "%Y%m%dT%H%M%S.%f").replace(tzinfo=UTC)


def id_at(when: datetime) -> str:
    """Return what sorts between the ids made before a time and those made from then on."""
    return _moment(when)


def full(prefix: str, key: str) -> str:
    """Return the key as the store knows it."""
    prefix = prefix.strip("/")
    return f"{prefix}/{key}" if prefix else key


def bare(prefix: str, key: str) -> str:
    """Return a key of the store without the prefix, the opposite of `full`."""
    return key.removeprefix(full(prefix, ""))


def head_key(key: HeadKey) -> str:
    """Return the key of a head. Raises ValueError when a part has a shape that no reader would accept."""
    text = f"{heads_below(cluster=key.cluster, node=key.node)}{key.writer}/{key.checkpoint}.{key.n}.json"
    if parse_head_key(text) != key:
        raise ValueError(f"no reader would accept the key {text!r}")
    return text


def heads_below(*, cluster: str | None = None, node: str | None = None) -> str:
    """Return what the keys of all heads begin with: of a cluster, of a node of it, or of everything."""
    if cluster is None:
        return "checkpoints/"
    return f"checkpoints/{cluster}/" if node is None else f"checkpoints/{cluster}/{node}/"


def parse_head_key(key: str) -> HeadKey | None:
    """Return what a head's key says, or None when it is not the key of a head."""
    found = _HEAD.fullmatch(key)
    if found is None:
        return None
    return HeadKey(
        cluster=found["cluster"],
        node=found["node"],
        writer=found["writer"],
        checkpoint=CheckpointId(found["checkpoint"]),
        n=int(found["n"]),
    )


def file_key(*, writer: str, pass_id: str, counter: int, name: bytes) -> str:
    """Return the key of the bytes of one file."""
    return _checked(f"data/{writer}/{pass_id}/f{counter}/{escaped(name)}")


def pack_key(*, writer: str, pass_id: str, counter: int) -> str:
    """Return the key of a pack."""
    return _checked(f"data/{writer}/{pass_id}/p{counter}.tar")


def probe_key(*, writer: str, probe_id: str) -> str:
    """Return the key of an object that is written only to see whether it may be. Raises ValueError."""
    key = f"probe/{writer}/{probe_id}"
    if re.fullmatch(rf"probe/{_WRITER}/{_ID}", key, re.ASCII) is None:
        raise ValueError(f"not a key: {key!r}")
    return key


def segment_key(*, writer: str, pass_id: str, n: int) -> str:
    """Return the key of a segment."""
    return _checked(f"data/{writer}/{pass_id}/seg-{n}.jsonl.gz")


def is_data_key(key: str) -> bool:
    """Whether this may be the key of a file, a pack or a segment: the writer at its depth, no part empty, no `..`."""
    return _DATA.fullmatch(key) is not None


def is_segment_key(key: str) -> bool:
    return _SEGMENT.fullmatch(key) is not None


def is_pack_key(key: str) -> bool:
    """Whether several files may share the object."""
    return _PACK.fullmatch(key) is not None


def begun_key(*, cluster: str, writer: str, at: datetime) -> str:
    """Return the key of the record that an evacuation began."""
    return f"{_outcome(cluster, writer, at)}.begun.json"


def outcome_key(*, cluster: str, writer: str, at: datetime) -> str:
    """Return the key of the record of how an evacuation ended; `at` is when it began, as in `begun_key`."""
    return f"{_outcome(cluster, writer, at)}.json"


def job_key(*, cluster: str, job: int, writer: str, life: int, rank: int) -> str:
    """Return the key of the note which head holds the files of a job's rank."""
    return f"jobs/{cluster}/{job}/{writer}/{life}-{rank}.json"


def escaped(name: bytes) -> str:
    """Return a base name percent-encoded, at most 120 bytes, no escape cut in two."""
    text = quote(name, safe="")
    if len(text) <= NAME_BYTES:
        return text
    cut = text[:NAME_BYTES]
    last = cut.rfind("%", NAME_BYTES - 2)
    return cut if last < 0 else cut[:last]


def _outcome(cluster: str, writer: str, at: datetime) -> str:
    at = at.astimezone(UTC)
    return f"outcomes/{cluster}/{at:%Y-%m-%d}/{writer}-{_moment(at)}"


def _moment(when: datetime) -> str:
    when = when.astimezone(UTC)
    return f"{when:%Y%m%dT%H%M%S}.{when.microsecond // 1000:03}Z"


def _checked(key: str) -> str:
    if not is_data_key(key):
        raise ValueError(f"no reader would accept the key {key!r}")
    return key
