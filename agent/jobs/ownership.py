"""Which files belong to which job of a node: by a path that the operator names, else by who owns them. Pure.

A template is an absolute path with `{job_id}` in it, or `{array_job_id}` and `{array_task_id}`; and `{user}`.
"""

import re
from collections.abc import Iterable
from pathlib import PurePosixPath
from typing import Final, Protocol

PLACES: Final = ("job_id", "array_job_id", "array_task_id", "user")
_PLACE: Final = re.compile(r"\{([^{}]*)\}")
_PLAIN: Final = re.compile(r"(?!\.{1,2}\Z)[A-Za-z0-9._@+-]+", re.ASCII)


class Known(Protocol):
    """What has to be known of a job."""

    @property
    def id(self) -> int: ...
    @property
    def array(self) -> int | None: ...
    @property
    def task(self) -> int | None: ...
    @property
    def uid(self) -> int: ...
    @property
    def user(self) -> str: ...


def check_template(template: str) -> str:
    """Return `template` if it is one. Raises ValueError."""
    names = set(_PLACE.findall(template))
    if unknown := sorted(names - set(PLACES)):
        raise ValueError(f"unknown {{{unknown[0]}}}: there are {', '.join(PLACES)}")
    if "job_id" not in names and not {"array_job_id", "array_task_id"} <= names:
        raise ValueError("the same path for several jobs: {job_id} has to be in it")
    path = _PLACE.sub("x", template)
    if not path.startswith("/") or set("{}\0") & set(path) or not {"", ".", ".."}.isdisjoint(path[1:].split("/")):
        raise ValueError("an absolute path without . or ..")
    return template


def paths_of(job: Known, templates: Iterable[str]) -> tuple[str, ...]:
    """Return the job's own paths: none when the user's name would lead elsewhere, none of an array without a task."""
    values = {"job_id": str(job.id), "user": job.user}
    if job.array is not None and job.task is not None:
        values |= {"array_job_id": str(job.array), "array_task_id": str(job.task)}
    if not all(map(_PLAIN.fullmatch, values.values())):
        return ()
    fitting = (template for template in templates if values.keys() >= set(_PLACE.findall(template)))
    return tuple(_PLACE.sub(lambda place: values[place[1]], template) for template in fitting)


def is_alone(job: Known, others: Iterable[Known]) -> bool:
    """Tell whether all of the user's files on the node are the job's, as far as the node's `others` tell."""
    return job.uid != 0 and all(other.uid != job.uid or other.id == job.id for other in others)


def own_parts(path: str, templates: Iterable[str]) -> int:
    """Return how many of the parts of a job's path are the same for every job: 1 of `/scratch/{user}/{job_id}`.

    What those name belongs to nobody's job and is not made for one. 0 when no template gives `path`.
    """
    parts = PurePosixPath(path).parts[1:]
    for template in templates:
        shape = PurePosixPath(template).parts[1:]
        if len(shape) == len(parts) and all(map(_fits, shape, parts)):
            return next(number for number, part in enumerate(shape) if "{" in part)
    return 0


def _fits(shape: str, part: str) -> bool:
    return re.fullmatch(".+".join(map(re.escape, _PLACE.split(shape)[::2])), part) is not None
