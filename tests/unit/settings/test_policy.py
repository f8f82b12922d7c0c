import re
from datetime import timedelta

import pytest

from agent.errors import SettingsInvalid
from agent.settings import load
from agent.settings.policy import PolicyRule


@pytest.fixture
def file(tmp_path):
    return tmp_path / "config.toml"


def test_nothing_told_is_no_rule(file):
    file.write_text("[policy]\n")
    settings = load(file, {})
    assert dict(settings.policy) == {}
    assert settings.values()["policy"] == {}
    assert settings.origins["policy"] == "default"


def test_a_rule_is_an_action_or_an_action_with_a_lead(file):
    file.write_text(
        '[policy]\nrebalance = "ignore"\nscheduled-event = { action = "evacuate", lead = "1h" }\n'
        '"scheduled-event/system-reboot" = { action = "drain" }\n'
    )
    settings = load(file, {})
    assert dict(settings.policy) == {
        "rebalance": PolicyRule(action="ignore"),
        "scheduled-event": PolicyRule(action="evacuate", lead=timedelta(hours=1)),
        "scheduled-event/system-reboot": PolicyRule(action="drain"),
    }
    assert settings.values()["policy.rebalance"].written() == "ignore"
    assert settings.values()["policy.scheduled-event"].written() == {"action": "evacuate", "lead": "1h"}
    assert settings.origins["policy.scheduled-event/system-reboot"] == f"file:{file}"
    assert "policy" not in settings.origins


def test_each_rule_can_be_given_as_a_variable_and_the_others_stay(file):
    file.write_text('[policy]\nrebalance = "ignore"\nshutdown = "ignore"\n')
    settings = load(
        file,
        {
            "HPC_AGENT_POLICY__REBALANCE": "evacuate",
            "HPC_AGENT_POLICY__SCHEDULED_EVENT__SYSTEM_REBOOT": '{"action": "drain", "lead": "1h"}',
        },
    )
    assert settings.policy["rebalance"] == PolicyRule(action="evacuate")
    assert settings.policy["shutdown"] == PolicyRule(action="ignore")
    assert settings.policy["scheduled-event/system-reboot"].lead == timedelta(hours=1)
    assert settings.origins["policy.rebalance"] == "HPC_AGENT_POLICY__REBALANCE"
    name = "HPC_AGENT_POLICY__SCHEDULED_EVENT__SYSTEM_REBOOT"
    assert settings.origins["policy.scheduled-event/system-reboot"] == name


RULE = 'expected an action, as "drain", or { action = "drain", lead = "15m" }, not '
KIND = 'expected a kind of notice, as "rebalance" or "scheduled-event/system-reboot", not '


@pytest.mark.parametrize(
    ("line", "key", "said"),
    [
        ("rebalance = 'act'", "rebalance", "expected 'ignore', 'lead-copy', 'drain' or 'evacuate', not 'act'"),
        ("rebalance = 7", "rebalance", RULE + "7"),
        ("rebalance = ['drain']", "rebalance", RULE + "['drain']"),
        ("rebalance = { lead = '5m' }", "rebalance", RULE),
        ("rebalance = { action = 'drain', led = '5m' }", "rebalance", RULE),
        ("rebalance = { action = 'drain', lead = 300 }", "rebalance", "expected a duration with its unit"),
        ("rebalanc = 'drain'", "rebalanc", KIND + "'rebalanc'"),
        ("'rebalance/now' = 'drain'", "rebalance/now", KIND + "'rebalance/now'"),
        ("'scheduled-event/a b' = 'drain'", "scheduled-event/a b", KIND),
        ("'scheduled-event/' = 'drain'", "scheduled-event/", KIND),
    ],
)
def test_one_line_names_the_rule_and_what_was_expected(file, line, key, said):
    file.write_text(f"[policy]\n{line}\n")
    with pytest.raises(SettingsInvalid) as caught:
        load(file, {})
    assert str(caught.value).startswith(f"setting policy.{key} in {file}: {said}")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("HPC_AGENT_POLICY", "{}", "there is no such setting"),
        ("HPC_AGENT_POLICY__REBALANC", "drain", KIND + "'rebalanc'"),
        ("HPC_AGENT_POLICY__", "drain", KIND + "''"),
        ("HPC_AGENT_POLICY__REBALANCE", "act", "expected 'ignore', 'lead-copy', 'drain' or 'evacuate', not 'act'"),
        ("HPC_AGENT_POLICY__REBALANCE", "[1]", RULE + "[1]"),
    ],
)
def test_one_line_names_the_variable_of_a_rule(file, name, text, said):
    file.touch()
    with pytest.raises(SettingsInvalid, match=re.escape(said)) as caught:
        load(file, {name: text})
    assert str(caught.value).startswith(f"setting {name}: ")
