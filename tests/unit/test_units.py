"""What the units of systemd let the agent do, against what it does. The units themselves run in tests/integration."""

from pathlib import Path

import pytest

from agent.settings import load

UNITS = Path(__file__).parents[2] / "systemd"


def told(unit, key):
    """Every value of a key, as systemd reads a unit."""
    lines = (line.partition("=") for line in (UNITS / unit).read_text().splitlines() if not line.startswith("#"))
    return [value for name, _, value in lines if name == key]


@pytest.mark.parametrize("unit", ["hpc-agent.service", "hpc-agent-restore.service"])
def test_what_was_restored_can_be_noted_down_for_the_daemon(unit, tmp_path):
    settings = tmp_path / "config.toml"
    settings.write_text("")
    assert load(settings, {}).state.dir == f"/var/lib/{told(unit, 'StateDirectory')[0]}"
    assert told(unit, "StateDirectoryMode") == ["0700"]  # whichever is first makes it


def test_nothing_is_restored_onto_the_root_disk_where_the_local_disk_is_missing():
    assert told("hpc-agent-restore.service", "ConditionPathIsMountPoint") == ["/scratch"]
