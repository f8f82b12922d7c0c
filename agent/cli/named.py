"""A checkpoint named on the command line, and what was found wrong with it."""

from collections.abc import Mapping
from typing import Any, Final

from agent.checkpoint.keys import is_id
from agent.checkpoint.unfolding import Problem
from agent.cli.output import note
from agent.errors import SettingsInvalid
from agent.model.checkpoint import CheckpointId, Head

SHOWN: Final = 20
"""Problems that are told one by one; a JSON document has the first thousand."""


def checkpoint_id(text: str) -> CheckpointId:
    """Return `text` if it is an id. Raises SettingsInvalid."""
    if not is_id(text):
        hint = "`hpc-agent checkpoints` lists what there is"
        raise SettingsInvalid("read", f"ID {text!r}", "expected one as 20261123T091500.123Z-1a2b3c4d", hint=hint)
    return CheckpointId(text)


def told_of(problem: Problem, head: Head) -> dict[str, str]:
    """Return a problem for a document, by the path that the file had."""
    path = head.roots[problem.root].rstrip(b"/") + b"/" + problem.path
    told = {"path": path.decode("utf-8", "backslashreplace"), "detail": problem.detail}
    return {**told, "key": problem.key} if problem.key else told


def note_problems(told: Mapping[str, Any]) -> None:
    """Tell the first of a document's `problems`."""
    for problem in told["problems"][:SHOWN]:
        note(f"{problem['path']}: {problem['detail']}")
    if told["problem_count"] > SHOWN:
        note(f"and {told['problem_count'] - SHOWN:,} more problems")
