"""From the operator's `[policy]` to the policy that decides."""

from collections.abc import Mapping

from agent.evacuation.policy import DEFAULTS, Action, Policy, Rule
from agent.settings.policy import PolicyRule


def policy_of(told: Mapping[str, PolicyRule]) -> Policy:
    """Return a rule for each key that was told; one without a lead has the lead of the default.

    So that "evacuate" alone does not evacuate days early.
    """
    return {key: Rule(action=Action(rule.action), lead=_lead(key, rule)) for key, rule in told.items()}


def _lead(key: str, rule: PolicyRule) -> float | None:
    if rule.lead is not None:
        return rule.lead.total_seconds()
    kind = key.partition("/")[0]
    return DEFAULTS.get(key, DEFAULTS[kind]).lead
