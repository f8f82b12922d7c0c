import json

import pytest

from agent.daemon.memory import Memory
from agent.model.node import BootId

BOOT = BootId("b-1")
KNOWN = Memory(boot=BOOT, name="n1", cluster="lab-0badcafe", writer="-", in_service=True)


def test_what_was_saved_is_remembered_within_the_same_boot(tmp_path):
    KNOWN.save(tmp_path / "node.json")
    assert Memory.load(tmp_path / "node.json", BOOT) == KNOWN


def test_after_a_stop_and_a_start_everything_begins_afresh(tmp_path):
    KNOWN.save(tmp_path / "node.json")
    assert Memory.load(tmp_path / "node.json", BootId("b-2")) == Memory(boot="b-2")


@pytest.mark.parametrize(
    "content",
    ["", "[]", "{", '{"boot": "b-1", "name": 7}', '{"boot": "b-1", "in_service": "yes"}', '{"boot": "b-1", "new": ""}'],
)
def test_a_broken_file_is_nothing(tmp_path, content):
    (tmp_path / "node.json").write_text(content)
    assert Memory.load(tmp_path / "node.json", BOOT) == Memory(boot=BOOT)


def test_the_file_of_an_older_version_is_gone_on_from(tmp_path):
    (tmp_path / "node.json").write_text(json.dumps({"boot": BOOT, "name": "n1", "cluster": "c", "writer": "w"}))
    assert Memory.load(tmp_path / "node.json", BOOT) == Memory(boot=BOOT, name="n1", cluster="c", writer="w")
