"""The record of a job in a head: what is written is read back, what is none is refused."""

import json
from dataclasses import dataclass, replace

import pytest

from agent.jobs.record import JobRecord, pointer, record_of


@dataclass
class Job:
    id: int = 9
    array: int | None = 7
    task: int | None = 2
    uid: int = 4242
    user: str = "alice"
    name: str = "train"
    nodes: int = 2
    node_list: str = "n[1-2]"


RECORD = record_of(Job(), [Job()], life=1, rank=0, templates=["/scratch/{job_id}"], quiesced=True)


def test_a_record_says_whose_the_files_are():
    assert replace(RECORD, complete=True) == JobRecord(
        job=9,
        array="7_2",
        user="alice",
        uid=4242,
        name="train",
        life=1,
        rank=0,
        nodes=2,
        node_list="n[1-2]",
        paths=("/scratch/9",),
        alone=True,
        quiesced=True,
        complete=True,
    )


def test_a_record_comes_back_equal():
    assert JobRecord.parse(json.loads(json.dumps(RECORD.document()))) == RECORD


def test_fields_of_a_later_version_are_ignored():
    assert JobRecord.parse({**RECORD.document(), "later": 1}) == RECORD


@pytest.mark.parametrize("missing", sorted(RECORD.document()))
def test_a_record_without_a_field_is_none(missing):
    document = RECORD.document()
    del document[missing]
    with pytest.raises(ValueError, match=r"."):
        JobRecord.parse(document)


@pytest.mark.parametrize(
    "wrong",
    [
        {"uid": -1},
        {"uid": True},
        {"life": "0"},
        {"paths": ["/scratch/../etc"]},
        {"paths": ["scratch"]},
        {"paths": ["/scratch/"]},
        {"paths": [7]},
        {"complete": 1},
        {"user": None},
    ],
)
def test_a_record_with_a_wrong_field_is_none(wrong):
    with pytest.raises(ValueError, match=r"."):
        JobRecord.parse({**RECORD.document(), **wrong})


def test_the_pointer_names_the_head():
    assert pointer(RECORD, head="checkpoints/x.json", digest="ab") == {
        "schema": 1,
        "format": "hpc-agent job",
        "head": "checkpoints/x.json",
        "digest": "ab",
        "job": RECORD.document(),
    }
