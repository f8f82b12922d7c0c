import re
from pathlib import Path

from agent.daemon.policies import policy_of
from agent.evacuation.policy import DEFAULTS, Action, Rule
from agent.settings import load
from agent.settings.tree import Written, leaves

ROOT = Path(__file__).parents[3]
PACKAGED = ROOT / "packaging" / "config.toml"
NOTICES = ROOT / "docs/notices.md"
KEY = re.compile(r"""^# (?=("?)[\w/-]+\1 = )""", re.MULTILINE)


def test_the_packaged_file_lists_every_key_with_its_default(tmp_path):
    file = tmp_path / "config.toml"
    file.write_text(KEY.sub("", PACKAGED.read_text()))
    settings = load(file, {})
    told = {key for key, origin in settings.origins.items() if origin.startswith("file:")}
    assert {key.partition(".")[0] if key.startswith("policy.") else key for key in told} == set(leaves(Written()))
    default = load(PACKAGED, {}).values()
    del default["policy"]
    assert {key: value for key, value in settings.values().items() if key in default} == default


def test_the_packaged_file_lists_every_default_of_the_policy(tmp_path):
    file = tmp_path / "config.toml"
    file.write_text(KEY.sub("", PACKAGED.read_text()))
    assert policy_of(load(file, {}).policy) == DEFAULTS


def test_the_document_has_every_default_of_the_policy():
    rows = re.findall(r"^\| (`.*`) \| `([a-z-]+)` \| (\d+ min|as soon as seen) \|", NOTICES.read_text(), re.MULTILINE)
    told = {
        key: Rule(action=Action(action), lead=None if lead == "as soon as seen" else 60.0 * int(lead.split()[0]))
        for keys, action, lead in rows
        for key in re.findall(r"`([a-z/-]+)`", keys)
    }
    assert told == DEFAULTS


def test_the_packaged_file_changes_nothing_as_it_is():
    assert set(load(PACKAGED, {}).origins.values()) == {"default"}
