"""Auto Scaling as control asks it: one child a question, because control itself never loads an AWS library."""

import json
import sys
from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Final

from agent.daemon.whoami import Whoami
from agent.errors import PermanentError, TransientError
from agent.processes import Processes
from agent.value import value

ASK_SECONDS: Final = 12.0
"""Seconds for the child; it limits itself to 10."""


class Verb(StrEnum):
    """What the hook of our instance is told."""

    HEARTBEAT = "heartbeat"
    COMPLETE = "complete"


@value
class Answer:
    """Whether a hook that the instance waits at took what it was told; its time-out in seconds, if it told."""

    taken: bool
    heartbeat_seconds: float | None = None


class HookUnavailable(TransientError):
    """Auto Scaling gave no usable answer."""


class HookRefused(PermanentError):
    """We may not tell the hook, or there is none that is ours."""


class AutoScaling:
    """The hooks that our own instance waits at."""

    def __init__(self, processes: Processes, whoami: Whoami) -> None:
        self._processes = processes
        self._whoami = whoami

    async def tell(self, verb: Verb) -> Answer:
        """Tell the hooks of our instance. Raises HookUnavailable, HookRefused, ChildTimedOut."""
        argv = [sys.executable, "-m", "agent.aws.lifecycle", verb, "--instance-id", self._whoami.instance_id]
        done = await self._processes.run(argv, seconds=ASK_SECONDS, env=self._region())
        return _answer(verb, done.out)

    def _region(self) -> Mapping[str, str]:
        """The group is where the instance is: AWS_REGION of the environment may be the bucket's."""
        identity = self._whoami.identity
        return {"AWS_REGION": identity.region} if identity is not None and identity.region else {}


def _answer(verb: Verb, out: str) -> Answer:
    try:
        document = json.loads(out)
        if "error" in document:
            raise _refusal(verb, document)
        seconds = document["heartbeat_seconds"]
        return Answer(taken=bool(document["done"]), heartbeat_seconds=None if seconds is None else float(seconds))
    except (ValueError, KeyError, TypeError) as error:
        raise HookUnavailable("tell", "the lifecycle hook", f"no answer to {verb}: {out[:80]!r}") from error


def _refusal(verb: Verb, document: Mapping[str, Any]) -> HookUnavailable | HookRefused:
    kind = HookUnavailable if document.get("sort") == "unavailable" else HookRefused
    said, hint = str(document["error"]), str(document.get("hint", ""))
    return kind("tell", "the lifecycle hook", f"{verb}: {said}", hint=hint)
