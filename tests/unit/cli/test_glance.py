import json
import os
from datetime import UTC, datetime
from pathlib import Path

import pytest

from agent.cli.glance import glance

GOLDEN = Path(__file__).parents[2] / "golden"
NOW = datetime(2026, 11, 23, 9, 15, 27, tzinfo=UTC)


@pytest.fixture
def status():
    return json.loads((GOLDEN / "status.json").read_text())


def test_the_text_of_the_golden_document_is_the_golden_text(status):
    text = glance(status, NOW) + "\n"
    if os.environ.get("UPDATE_GOLDEN"):
        (GOLDEN / "status.txt").write_text(text)
    assert text == (GOLDEN / "status.txt").read_text()


def test_a_quiet_node_fits_in_seven_lines(status):
    quiet = status | {
        "state": "watching",
        "notice": None,
        "notices": [],
        "deadline": None,
        "seconds_left": None,
        "drain": "none",
        "checkpoint": None,
        "progress": None,
        "container_layers": {"paths": [], "bytes": None},
        "ahead": {"why": "all of the scratch fits the budget", "bytes_today": 0},
        "capabilities": {"imds": {"on": True, "detail": "", "hint": ""}},
        "trouble": [],
    }
    assert glance(quiet, NOW).splitlines() == [
        "WATCHING",
        "  node        spot-dy-c7gd-1  (hpc-0badcafe)  i-0123456789abcdef0  c7gd.large  spot  eu-west-1a",
        "  notice      none",
        "  drain       not drained",
        "  estimate    a notice now would cost about 45 s (2.3 GiB unsaved, looked 40 s ago)",
        "  checkpoint  none",
        "  agent       0.1.0, running for 1 d 0 h",
    ]


def test_the_first_line_says_what_matters_most(status):
    late = status | {"seconds_left": -12.0, "state": "resting", "outcome": "PARTIAL", "mode": "observe"}
    assert glance(late, NOW).splitlines()[0] == "RESTING  12 s past the deadline  PARTIAL  mode observe"


def test_a_rate_that_nobody_measured_is_said_to_be_assumed(status):
    unsaved = status["unsaved"] | {"bytes_per_second": 80_000_000, "rate_is_measured": False}
    text = glance(status | {"state": "watching", "unsaved": unsaved}, NOW)
    assert "45 s (2.3 GiB unsaved, looked 40 s ago; 80 MB/s assumed); 12.0 GiB saved ahead today" in text


def test_what_was_withheld_is_shown(status):
    assert "withheld    node n1 would have been drained" in glance(
        status | {"withheld": ["node n1 would have been drained"]}, NOW
    )


def test_a_copy_of_nothing_is_done_once_it_has_looked(status):
    nothing = {"files_total": 0, "files_done": 0, "bytes_total": 0, "bytes_done": 0, "walked": True}
    assert "100 %  0 B of 0 B" in glance(status | {"progress": nothing}, NOW)
    assert " 0 %  0 B of 0 B" in glance(status | {"progress": nothing | {"walked": False}}, NOW)


def test_fields_that_a_later_version_adds_do_no_harm(status):
    later = status | {"moon": "full", "node": status["node"] | {"rack": 7}}
    assert glance(later, NOW) == glance(status, NOW)


def test_a_part_that_is_off_is_named_once(status):
    off = {"bucket": {"on": False, "detail": "no bucket is set", "hint": "set s3.bucket"}}
    trouble = [{"what": "bucket: no bucket is set", "hint": "set s3.bucket", "since": "2026-11-23T09:15:05.000Z"}]
    assert glance(status | {"capabilities": off, "trouble": trouble}, NOW).count("no bucket is set") == 1
