"""The `[policy]` section: what each kind of notice calls for, where the operator wants something else than the default.

Keys are kinds of notices and, for one sort of scheduled event, `scheduled-event/<code>`; the daemon knows the defaults.
"""

import re
from collections.abc import Mapping
from datetime import timedelta
from typing import Annotated, Final, Literal

from agent.model.notice import NoticeKind
from agent.settings.checks import After, Before, Reader
from agent.settings.units import duration, write_duration
from agent.value import value

_CODE: Final = re.compile(rf"{NoticeKind.SCHEDULED_EVENT}/[a-z0-9-]{{1,64}}")

Action = Literal["ignore", "lead-copy", "drain", "evacuate"]
Lead = Annotated[timedelta, Reader(duration("0s", "365d"))]


@value
class PolicyRule:
    """`lead` None is the default's of that kind."""

    action: Action
    lead: Lead | None = None

    def written(self) -> str | dict[str, str]:
        """Return the rule as the file has it."""
        return self.action if self.lead is None else {"action": self.action, "lead": write_duration(self.lead)}


def _check_rule(value: object) -> object:
    """The action alone is a rule."""
    if isinstance(value, str):
        return {"action": value}
    if isinstance(value, PolicyRule) or (isinstance(value, dict) and {"action"} <= value.keys() <= {"action", "lead"}):
        return value
    raise ValueError('an action, as "drain", or { action = "drain", lead = "15m" }')


def _check_key(key: str) -> str:
    if key not in set(NoticeKind) and not _CODE.fullmatch(key):
        raise ValueError('a kind of notice, as "rebalance" or "scheduled-event/system-reboot"')
    return key


PolicySection = Mapping[Annotated[str, After(_check_key)], Annotated[PolicyRule, Before(_check_rule)]]


def policy_key(variable_rest: str) -> str:
    """Return the key that a variable names: `SCHEDULED_EVENT__SYSTEM_REBOOT` is `scheduled-event/system-reboot`."""
    return variable_rest.lower().replace("__", "/").replace("_", "-")
