"""What a job asks of us in its comment: `sbatch --comment="hpc-agent:signal=USR1,grace=40s,restore=off"`.

Read strictly: a wish that is not understood to the letter is no wish at all, and says so. Half of one could kill the
job (a signal that it does not trap) or take its files from it.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from agent.errors import PermanentError
from agent.model.job import SIGNALS, Restore, Wishes

PREFIX: Final = "hpc-agent:"
NO_SIGNAL: Final = "none"
"""Also where the operator has set one for all jobs."""
LONGEST_GRACE: Final = 600.0
_SECONDS: Final = {"s": 1, "m": 60}


class CommentInvalid(PermanentError):
    """A comment with our prefix that is not understood."""


def wishes(comment: str) -> Wishes:
    """Return the wishes in a job's comment; none when it has no word that begins with our prefix.

    Other words may stand beside it. Raises CommentInvalid.
    """
    ours = [word.removeprefix(PREFIX) for word in comment.split() if word.startswith(PREFIX)]
    if not ours:
        return Wishes()
    if len(ours) > 1:
        raise _invalid(comment, f"more than one {PREFIX}")
    found: dict[str, Any] = {}
    for part in ours[0].split(","):
        key, is_set, value = part.partition("=")
        if not is_set or key not in KEYS:
            raise _invalid(comment, f"{part[:40]!r} is none of {', '.join(f'{name}=' for name in KEYS)}")
        if key in found:
            raise _invalid(comment, f"{key} is there twice")
        try:
            found[key] = KEYS[key](value)
        except ValueError as error:
            raise _invalid(comment, f"{part[:40]!r}: {error}") from error
    if "grace" in found and not found.get("signal"):
        raise _invalid(comment, "grace without signal")
    return Wishes(**found)


def _signal(value: str) -> str:
    if value == NO_SIGNAL:
        return ""
    if value not in SIGNALS:
        raise ValueError(f"neither {NO_SIGNAL} nor one of {', '.join(sorted(SIGNALS))}")
    return value


def _grace(value: str) -> float:
    match = re.fullmatch(r"(\d{1,3})([sm])", value, re.ASCII)
    if match is None:
        raise ValueError("not a time like 40s")
    seconds = float(match[1]) * _SECONDS[match[2]]
    if seconds > LONGEST_GRACE:
        raise ValueError(f"more than {LONGEST_GRACE:g} s")
    return seconds


KEYS: Final[Mapping[str, Callable[[str], Any]]] = {"signal": _signal, "grace": _grace, "restore": Restore}


def _invalid(comment: str, why: str) -> CommentInvalid:
    hint = "its wishes are ignored; the form is hpc-agent:signal=USR1,grace=40s,restore=off"
    return CommentInvalid("read", f"the comment {comment[:80]!r}", why, hint=hint)
