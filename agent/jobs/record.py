"""What a head says of the jobs of its node: `docs/format.md`, "Jobs"."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import PurePosixPath
from typing import Any, Final, Protocol, Self

from agent.jobs.ownership import Known, is_alone, paths_of
from agent.value import value

MOST: Final = 1000
"""Jobs in a head: it is a small document."""

_BIGGEST: Final = 2**32 - 1
_TEXT: Final = 4096
_NAME: Final = 200
_PATHS: Final = 100


class Running(Known, Protocol):
    """A job as the node has it: `life` is how often it had been requeued when this life began."""

    @property
    def name(self) -> str: ...
    @property
    def nodes(self) -> int: ...
    @property
    def node_list(self) -> str: ...


@value
class JobRecord:
    """A job in a head. `rank` counts the nodes of the job from 0; `paths` are its own, whether they exist or not.

    `alone`: no other job of the user was on the node. `quiesced`: its processes were gone before the last scan of
    its files. `torn`: files that changed while they were read.
    """

    job: int
    array: str
    user: str
    uid: int
    name: str
    life: int
    rank: int
    nodes: int
    node_list: str
    paths: tuple[str, ...]
    alone: bool
    quiesced: bool = False
    complete: bool = False
    torn: int = 0

    def document(self) -> dict[str, Any]:
        """Return it as JSON data."""
        return {**asdict(self), "paths": list(self.paths)}

    @classmethod
    def parse(cls, value: Mapping[str, object]) -> Self:
        """Read a record of a head. Raises ValueError for what is none."""
        return cls(
            job=_number(value, "job"),
            array=_text(value, "array"),
            user=_text(value, "user"),
            uid=_number(value, "uid"),
            name=_text(value, "name"),
            life=_number(value, "life"),
            rank=_number(value, "rank"),
            nodes=_number(value, "nodes"),
            node_list=_text(value, "node_list"),
            paths=_paths(value.get("paths")),
            alone=_flag(value, "alone"),
            quiesced=_flag(value, "quiesced"),
            complete=_flag(value, "complete"),
            torn=_number(value, "torn"),
        )


def record_of(
    job: Running, others: Sequence[Known], *, life: int, rank: int, templates: Sequence[str], quiesced: bool
) -> JobRecord:
    """Return the record of a job. `others` are all jobs of the node; `rank` is the node's place in the job's list."""
    return JobRecord(
        job=job.id,
        array="" if job.array is None else f"{job.array}_{job.task}",
        user=job.user,
        uid=job.uid,
        name=job.name[:_NAME],
        life=life,
        rank=rank,
        nodes=job.nodes,
        node_list=job.node_list[:_TEXT],
        paths=paths_of(job, templates),
        alone=is_alone(job, others),
        quiesced=quiesced,
    )


def pointer(record: JobRecord, *, head: str, digest: str) -> dict[str, Any]:
    """Return the note for people which head (key without the prefix, digest) holds a job's files."""
    return {"schema": 1, "format": "hpc-agent job", "head": head, "digest": digest, "job": record.document()}


def _number(value: Mapping[str, object], name: str) -> int:
    found = value.get(name)
    if type(found) is not int or not 0 <= found <= _BIGGEST:
        raise ValueError(f"{name} is {found!r:.60}")
    return found


def _text(value: Mapping[str, object], name: str) -> str:
    found = value.get(name)
    if type(found) is not str or len(found) > _TEXT:
        raise ValueError(f"{name} is {found!r:.60}")
    return found


def _flag(value: Mapping[str, object], name: str) -> bool:
    found = value.get(name)
    if type(found) is not bool:
        raise ValueError(f"{name} is {found!r:.60}")
    return found


def _paths(found: object) -> tuple[str, ...]:
    if type(found) is not list or len(found) > _PATHS:
        raise ValueError(f"paths are {found!r:.60}")
    for path in found:
        if type(path) is not str or not path.startswith("/") or str(PurePosixPath(path)) != path or ".." in path:
            raise ValueError(f"a path is {path!r:.200}")
    return tuple(found)
