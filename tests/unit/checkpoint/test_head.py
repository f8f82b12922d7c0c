import hashlib
import json
from dataclasses import replace

import pytest

from agent.checkpoint.format import FormatInvalid
from agent.checkpoint.head import HEAD_BYTES, decode, digest, encode
from agent.model.checkpoint import Left, SegmentRef, Totals
from tests.fakes.checkpoints import DATA, a_head

SEGMENT = SegmentRef(key=f"{DATA}/seg-1.jsonl.gz", size=12, sha256="ab" * 32, directories=1, entries=3)
HEAD = a_head(
    roots=(b"/scratch", b"/odd\xff", b"/"),
    segments=(SEGMENT,),
    totals=Totals(files=3, bytes=9, torn=1),
    left=Left(files=1, bytes=2, paths=("a", "b")),
    notice={"id": "n", "kind": "spot-terminate"},
)


def test_what_is_encoded_is_decoded():
    assert decode(encode(HEAD)) == HEAD
    assert decode(encode(a_head())) == a_head()


def test_the_bytes_are_canonical_and_the_digest_is_their_sha256():
    blob = encode(HEAD)
    value = json.loads(blob)
    assert blob == json.dumps(value, separators=(",", ":"), sort_keys=True).encode()
    assert value["format"] == "hpc-agent head"
    assert value["roots"] == ["/scratch", {"base64": "L29kZP8="}, "/"]
    assert digest(blob) == hashlib.sha256(blob).hexdigest()


def test_fields_of_later_writers_are_ignored_and_absent_counts_are_0():
    value = json.loads(encode(HEAD)) | {"later": 1}
    value["totals"] = {"files": 3}
    assert decode(json.dumps(value).encode()).totals == Totals(files=3)


def test_only_a_walk_that_did_not_finish_is_told_of():
    assert "seen" not in json.loads(encode(HEAD))["left"]
    head = replace(HEAD, complete=False, left=Left(files=1, seen=7))
    assert decode(encode(head)) == head


@pytest.mark.parametrize(
    "changed",
    [
        {"schema": 2},
        {"schema": None},
        {"format": "hpc-agent segment"},
        {"checkpoint": "../x"},
        {"n": 0},
        {"n": True},
        {"node": 1},
        {"created_at": "yesterday"},
        {"created_at": "2026-11-23T09:16:02"},
        {"roots": []},
        {"roots": ["scratch"]},
        {"roots": ["/scratch/../etc"]},
        {"roots": ["//scratch"]},
        {"roots": ["/scratch/"]},
        {"roots": ["/a\0"]},
        {"roots": ["/a", "/a"]},
        {"roots": [{"base64": "///"}]},
        {"roots": [{}]},
        {"roots": [f"/{number}" for number in range(1001)]},
        {"segments": [{}]},
        {"segments": None},
        {"complete": 1},
        {"totals": {"files": -1}},
        {"totals": []},
        {"left": {"files": 0}},
        {"left": {"files": 0, "bytes": 0, "paths": [1]}},
        {"notice": "soon"},
        {"jobs": [1]},
    ],
    ids=repr,
)
def test_a_planted_head_is_refused_by_its_key(changed):
    value = json.loads(encode(HEAD)) | changed
    with pytest.raises(FormatInvalid, match="the-key"):
        decode(json.dumps(value).encode(), key="the-key")


@pytest.mark.parametrize(
    "changed",
    [
        {"key": "data/../x/seg-1.jsonl.gz"},
        {"key": f"{DATA}/p1.tar"},
        {"sha256": "AB" * 32},
        {"sha256": ""},
        {"size": -1},
        {"entries": 1.0},
    ],
    ids=repr,
)
def test_a_planted_segment_reference_is_refused(changed):
    value = json.loads(encode(HEAD))
    value["segments"][0] |= changed
    with pytest.raises(FormatInvalid):
        decode(json.dumps(value).encode())


@pytest.mark.parametrize("missing", sorted(set(json.loads(encode(HEAD))) - {"notice", "jobs"}))
def test_a_head_without_a_field_is_refused(missing):
    value = json.loads(encode(HEAD))
    del value[missing]
    with pytest.raises(FormatInvalid):
        decode(json.dumps(value).encode())


@pytest.mark.parametrize("blob", [b"", b"null", b"{", b"[]", b"\xff", b" " * (HEAD_BYTES + 1), b"[" * 100_000])
def test_what_is_no_head_is_refused(blob):
    with pytest.raises(FormatInvalid):
        decode(blob)


def test_a_head_that_no_reader_would_accept_is_not_written():
    with pytest.raises(ValueError):
        encode(a_head(roots=(b"scratch",)))
