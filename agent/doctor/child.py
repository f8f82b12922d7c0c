"""A question to AWS, asked by a child that prints one JSON document: bounded, and nothing of AWS's libraries here."""

import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any, Final

from agent.errors import AgentError
from agent.processes import ChildMissing, Processes

Document = Mapping[str, Any]

UNASKED: Final = "unasked"
"""The `sort` of an error that says nothing of AWS: the child could not be started."""


async def ask(
    processes: Processes, module: str, arguments: Sequence[str], *, seconds: float, env: Mapping[str, str] | None = None
) -> Document:
    """Return what `python -m agent.aws.<module>` printed; one that says nothing usable is an `error` of its own."""
    try:
        done = await processes.run([sys.executable, "-m", f"agent.aws.{module}", *arguments], seconds=seconds, env=env)
    except ChildMissing as error:
        return {"error": f"{error.subject.split()[0]}: {error.detail}", "hint": "run as root", "sort": UNASKED}
    except AgentError as error:
        return {"error": error.detail, "hint": error.hint, "sort": "unavailable"}
    try:
        document = json.loads(done.out)
    except ValueError:
        document = None
    if isinstance(document, dict):
        return document
    last = (done.err.strip().splitlines() or [f"exit code {done.code}"])[-1]
    return {"error": f"no answer: {last[:200]}", "hint": "", "sort": "unavailable"}
