"""What the documents name exists: commands, options, settings, metrics, targets, files; the picture is the table."""

import argparse
import re
from importlib import import_module
from pathlib import Path

import pytest

from agent.cli.exits import Exit
from agent.cli.main import COMMANDS
from agent.evacuation.diagram import mermaid
from agent.evacuation.phases import Phase
from agent.settings import load
from agent.settings.tree import Written, leaves

ROOT = Path(__file__).parents[2]
DOCUMENTS = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]
SETTINGS = set(leaves(Written()))
SECTIONS = {key.partition(".")[0] for key in SETTINGS if "." in key}

COMMAND = re.compile(r"(?<!\")hpc-agent ([a-z]+)((?: (?:ID|[-A-Za-z0-9:/.()|\[\]\\]+))*)")
OPTION = re.compile(r"--[a-z-]+")
SETTING = re.compile(r"`([a-z][a-z0-9_]*\.[a-z][a-z0-9_]*)`")
METRIC = re.compile(r"hpc_agent_[a-z0-9_]*[a-z0-9]")
LINK = re.compile(r"\]\((?!https?://)([^)#]+)[^)]*\)")

documents = pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)


def code(text):
    """Return what is between backticks or in a block of code."""
    blocks = re.findall(r"^```\w*\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    return [*blocks, *re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL))]


def options(command):
    parser = argparse.ArgumentParser()
    parser.add_argument("--config")
    import_module(f"agent.cli.{command}").arguments(parser)
    return set(parser._option_string_actions)


@documents
def test_every_command_and_option_exists(document):
    for piece in code(document.read_text()):
        for command, rest in COMMAND.findall(piece):
            assert command in COMMANDS, f"hpc-agent {command}"
            for option in OPTION.findall(rest):
                assert option in options(command), f"hpc-agent {command} {option}"


def test_every_command_is_explained():
    for name in ("README.md", "docs/interfaces.md"):
        explained = {command for piece in code((ROOT / name).read_text()) for command, _ in COMMAND.findall(piece)}
        assert explained >= set(COMMANDS), name


@documents
def test_every_setting_exists(document):
    named = SETTING.findall(document.read_text())
    assert {key for key in named if key.partition(".")[0] in SECTIONS} <= SETTINGS


@documents
def test_every_block_of_settings_is_read_without_a_complaint(document, tmp_path):
    for block in re.findall(r"^```toml\n(.*?)^```", document.read_text(), re.MULTILINE | re.DOTALL):
        file = tmp_path / "config.toml"
        file.write_text(block)
        load(file, {})


@documents
def test_every_metric_exists(document):
    golden = (ROOT / "tests/golden/metrics.txt").read_text()
    for metric in METRIC.findall(document.read_text()):
        assert metric in golden or metric == "hpc_agent_process", metric


@documents
def test_every_target_of_make_exists(document):
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = {target for piece in code(document.read_text()) for target in re.findall(r"\bmake ([a-z]+)", piece)}
    assert named <= targets


@documents
def test_every_link_leads_to_a_file(document):
    for link in LINK.findall(document.read_text()):
        assert (document.parent / link).exists(), link


@documents
def test_every_named_file_of_the_project_exists(document):
    for path in re.findall(r"`((?:agent|docs|packaging|systemd|tests)/[\w./-]+)`", document.read_text()):
        assert (ROOT / path).exists(), path


def test_the_picture_of_the_states_is_drawn_from_the_table():
    text = (ROOT / "docs/evacuation.md").read_text()
    drawn = re.search(r"^```mermaid\n(.*?)^```", text, re.MULTILINE | re.DOTALL).group(1)
    assert drawn.strip() == mermaid(), "python -m agent.evacuation.diagram"
    assert {phase for phase in Phase if f"| `{phase}` |" in text} == set(Phase)


def test_every_exit_code_is_explained():
    text = (ROOT / "docs/interfaces.md").read_text()
    assert {int(code) for code in re.findall(r"^\| (\d+) \|", text, re.MULTILINE)} == set(Exit)


def test_the_readme_makes_every_promise_that_tests_keep():
    made = set(re.findall(r"^\| (P\d+) \|", (ROOT / "README.md").read_text(), re.MULTILINE))
    assert made == {f"P{number}" for number in range(1, 11)}
