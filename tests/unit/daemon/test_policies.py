from datetime import timedelta

from agent.daemon.policies import policy_of
from agent.evacuation.policy import DEFAULTS, Action, Rule
from agent.settings.policy import PolicyRule


def test_nothing_told_leaves_everything_to_the_defaults():
    assert policy_of({}) == {}


def test_an_action_alone_keeps_the_lead_of_the_default_so_that_nothing_is_drained_days_early():
    told = {
        "scheduled-event": PolicyRule(action="evacuate"),
        "scheduled-event/system-reboot": PolicyRule(action="ignore"),
        "scheduled-event/instance-stop": PolicyRule(action="drain"),
        "rebalance": PolicyRule(action="evacuate"),
    }
    policy = policy_of(told)
    assert {key: rule.action for key, rule in policy.items()} == {key: rule.action for key, rule in told.items()}
    assert {key: rule.lead for key, rule in policy.items()} == {
        "scheduled-event": DEFAULTS["scheduled-event"].lead,
        "scheduled-event/system-reboot": DEFAULTS["scheduled-event/system-reboot"].lead,
        "scheduled-event/instance-stop": DEFAULTS["scheduled-event"].lead,
        "rebalance": None,
    }


def test_a_lead_that_was_told_counts_zero_included():
    told = {"rebalance": PolicyRule(action="drain", lead=timedelta()), "shutdown": PolicyRule(action="ignore")}
    assert policy_of(told)["rebalance"] == Rule(action=Action.DRAIN, lead=0.0)
