"""A job that starts on this node, as Slurm tells its Prolog and Epilog in their environment (prolog_epilog guide)."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Self

_NONE: Final = frozenset({"", "0", "4294967294"})
"""Of SLURM_ARRAY_JOB_ID: no array."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobStart:
    """`ref` is how Slurm has to be told the job; `life` None when this Slurm does not tell (`Restarts=` does)."""

    id: int
    ref: str
    uid: int
    node: str
    node_list: str
    life: int | None
    comment: str = ""

    @classmethod
    def read(cls, environ: Mapping[str, str]) -> Self:
        """Read what Slurm says. Raises ValueError where that is no job."""
        job = _number(environ, "SLURM_JOB_ID")
        array, task = environ.get("SLURM_ARRAY_JOB_ID", ""), environ.get("SLURM_ARRAY_TASK_ID", "")
        is_task = array not in _NONE and array.isdigit() and task.isdigit() and task not in _NONE - {"0"}
        return cls(
            id=job,
            ref=f"{array}_{task}" if is_task else str(job),
            uid=_number(environ, "SLURM_JOB_UID"),
            node=environ.get("SLURMD_NODENAME", ""),
            node_list=environ.get("SLURM_JOB_NODELIST") or environ.get("SLURM_NODELIST", ""),
            life=_number(environ, "SLURM_JOB_RESTART_COUNT") if "SLURM_JOB_RESTART_COUNT" in environ else None,
            comment=environ.get("SLURM_JOB_COMMENT", ""),
        )


def _number(environ: Mapping[str, str], name: str) -> int:
    value = environ.get(name, "")
    if not re.fullmatch(r"\d{1,10}", value, re.ASCII):
        raise ValueError(f"{name} is {value!r:.40}")
    return int(value)
