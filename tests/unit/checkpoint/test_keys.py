from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.chance import SeededChance
from agent.checkpoint.keys import (
    HeadKey,
    bare,
    begun_key,
    escaped,
    file_key,
    full,
    head_key,
    heads_below,
    id_time,
    is_data_key,
    is_id,
    is_segment_key,
    new_id,
    outcome_key,
    pack_key,
    parse_head_key,
    segment_key,
)

PASS = "20261123T091500.123Z-1a2b3c4d"
WRITER = "AROAEXAMPLE:i-0123"


class StoppedClock:
    def __init__(self, now):
        self._now = now

    def now(self):
        return self._now


def test_an_id_is_the_utc_time_and_eight_hex_digits():
    east = datetime(2026, 11, 23, 11, 15, 0, 123_999, tzinfo=timezone(timedelta(hours=2)))
    made = new_id(StoppedClock(east), SeededChance(1))
    assert made.startswith("20261123T091500.123Z-")
    assert is_id(made)
    assert id_time(made) == datetime(2026, 11, 23, 9, 15, 0, 123_000, tzinfo=UTC)


@pytest.mark.parametrize("text", ["", PASS[:-1], PASS + "0", PASS.upper(), "20261323T091500.123Z-1a2b3c4d"])
def test_the_time_of_what_is_no_id_is_refused(text):
    with pytest.raises(ValueError):
        id_time(text)


def test_a_head_key_says_what_it_was_made_of():
    key = HeadKey(cluster="hpc-0badcafe", node="spot-1", writer=WRITER, checkpoint=PASS, n=12)
    text = head_key(key)
    assert text == f"checkpoints/hpc-0badcafe/spot-1/{WRITER}/{PASS}.12.json"
    assert parse_head_key(text) == key
    assert text.startswith(heads_below(cluster="hpc-0badcafe", node="spot-1"))
    assert heads_below(cluster="c") == "checkpoints/c/"
    assert heads_below() == "checkpoints/"


@pytest.mark.parametrize("changed", [{"writer": "a/b"}, {"writer": ".."}, {"node": ""}, {"n": 0}, {"cluster": "c d"}])
def test_a_head_key_that_no_reader_would_accept_is_not_built(changed):
    fields = {"cluster": "c", "node": "n", "writer": "-", "checkpoint": PASS, "n": 1} | changed
    with pytest.raises(ValueError):
        head_key(HeadKey(**fields))


@pytest.mark.parametrize(
    "key",
    [
        f"checkpoints/c/n/-/{PASS}.json",
        f"checkpoints/c/n/-/{PASS}.01.json",
        f"checkpoints/c/n/-/{PASS}.1.json\n",
        f"checkpoints/c/n/{PASS}.1.json",
        f"checkpoints/c/n/-/more/{PASS}.1.json",
        f"checkpoints/c//-/{PASS}.1.json",
        f"checkpoints/../n/-/{PASS}.1.json",
        f"hpc-agent/checkpoints/c/n/-/{PASS}.1.json",
        f"checkpoints/c/n/-/{PASS}.\u0661.json",
    ],
)
def test_a_key_of_another_shape_is_no_head(key):
    assert parse_head_key(key) is None


def test_the_keys_of_files_packs_and_segments_are_data_keys():
    name = b"odd \xff/name"
    keys = [
        file_key(writer=WRITER, pass_id=PASS, counter=0, name=name),
        pack_key(writer=WRITER, pass_id=PASS, counter=7),
        segment_key(writer=WRITER, pass_id=PASS, n=1),
    ]
    assert keys == [
        f"data/{WRITER}/{PASS}/f0/odd%20%FF%2Fname",
        f"data/{WRITER}/{PASS}/p7.tar",
        f"data/{WRITER}/{PASS}/seg-1.jsonl.gz",
    ]
    assert all(map(is_data_key, keys))
    assert [is_segment_key(key) for key in keys] == [False, False, True]


@pytest.mark.parametrize(
    "key",
    [
        "",
        "/etc/passwd",
        f"data/{WRITER}/{PASS}/f1/../p1.tar",
        f"data/{WRITER}/{PASS}/f1/..",
        f"data/{WRITER}/{PASS}/f1/",
        f"data/{WRITER}/{PASS}/f1/a/b",
        f"data//{PASS}/p1.tar",
        f"data/../{PASS}/p1.tar",
        f"data/{WRITER}/other/{PASS}/p1.tar",
        f"data/{WRITER}/..{PASS}/p1.tar",
        f"data/{WRITER}/{PASS}/p01.tar",
        f"data/{WRITER}/{PASS}/p1.tar\n",
        f"checkpoints/c/n/-/{PASS}.1.json",
        f"prefix/data/{WRITER}/{PASS}/p1.tar",
    ],
)
def test_p8_a_key_of_another_shape_is_no_data_key(key):
    assert not is_data_key(key)


@given(st.binary(min_size=1, max_size=300).filter(lambda name: name not in {b".", b".."}))
def test_a_name_in_a_key_is_short_and_no_escape_is_cut(name):
    text = escaped(name)
    assert 0 < len(text) <= 120
    assert is_data_key(file_key(writer="-", pass_id=PASS, counter=1, name=name))


def test_outcome_keys_begin_with_cluster_date_and_writer():
    at = datetime(2026, 11, 23, 9, 15, 0, 123_456, tzinfo=UTC)
    assert outcome_key(cluster="c", writer="-", at=at) == "outcomes/c/2026-11-23/--20261123T091500.123Z.json"
    assert begun_key(cluster="c", writer="-", at=at) == "outcomes/c/2026-11-23/--20261123T091500.123Z.begun.json"


@pytest.mark.parametrize("prefix", ["", "hpc-agent", "a/b", "a/b/"])
def test_a_full_key_without_its_prefix_is_the_bare_one(prefix):
    assert bare(prefix, full(prefix, "data/x")) == "data/x"
    assert full(prefix, "data/x") == (f"{prefix.strip('/')}/data/x" if prefix else "data/x")
