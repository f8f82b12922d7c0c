"""What heads say of the node's jobs, and how Slurm comes to vouch for the heads."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from agent.chance import SeededChance
from agent.daemon.jobfiles import JobFiles, life_here, pointers
from agent.evacuation.state import Saved
from agent.jobs.lives import Lives
from agent.model.checkpoint import CheckpointId, Left, Totals
from agent.model.job import Job
from agent.model.node import BootId, InstanceId, Node, NodeName
from agent.processes import Finished
from agent.slurm import admin_comment
from agent.slurm.admin_comment import AdminComment
from agent.slurm.command import Scontrol
from tests.fakes.jobfiles import Children

JOB = Job(
    id=7,
    uid=4242,
    user="alice",
    state="RUNNING",
    is_batch=True,
    is_requeueable=True,
    restarts=0,
    nodes=2,
    node_list="n[1-2]",
    name="count",
)
TASK = replace(JOB, id=9, array=8, task=3, uid=4343, user="bob", node_list="n2", nodes=1)
KEY = "checkpoints/lab-0badcafe/n2/AROA:i-1/20261123T091500.123Z-1a2b3c4d.3.json"
SAVED = Saved(
    checkpoint=CheckpointId("20261123T091500.123Z-1a2b3c4d"),
    n=3,
    key=KEY,
    digest="ab" * 32,
    complete=True,
    created_at=datetime(2026, 11, 23, tzinfo=UTC),
    totals=Totals(),
    left=Left(),
)


@pytest.fixture
def files(monkeypatch, tmp_path):
    monkeypatch.setattr(admin_comment, "SETTLING", 0.0)

    def build(slurm):
        return JobFiles(
            "n2",
            Scontrol(slurm, "scontrol"),
            templates=["/scratch/{job_id}"],
            lives=Lives(tmp_path),
            chance=SeededChance(1),
        )

    return build


async def test_a_record_says_the_rank_the_life_and_whether_the_job_was_still(files):
    first, second = await files(Children()).records([JOB, TASK], quiesced={"8_3"})
    assert (first.job, first.rank, first.nodes, first.life, first.quiesced) == (7, 1, 2, 0, False)
    assert (second.array, second.rank, second.quiesced, second.alone) == ("8_3", 0, True, True)
    assert second.paths == ("/scratch/9",)


async def test_a_job_that_is_not_on_this_node_is_not_recorded(files):
    assert await files(Children()).records([replace(JOB, node_list="n7")]) == []


def test_a_requeued_job_that_still_ends_here_is_in_the_life_before():
    assert life_here(replace(JOB, restarts=1, state="COMPLETING")) == 0
    assert life_here(replace(JOB, restarts=1)) == 1


async def test_the_rank_of_a_job_that_ends_is_by_the_nodes_it_began_with(files, tmp_path):
    # Slurm takes each node whose Epilog is over from the list: n2 would be the first.
    ending = replace(JOB, restarts=1, state="COMPLETING", node_list="n2", nodes=1)
    (tmp_path / "7").write_text("0 n[1-2]\n")
    (record,) = await files(Children()).records([ending])
    assert (record.life, record.rank, record.node_list) == (0, 1, "n[1-2]")
    (tmp_path / "7").write_text("1 n[2-3]\n")  # of another life
    assert (await files(Children()).records([ending]))[0].node_list == "n2"


ENDING = ("7", "7", "N/A", "4242", "1", "1", "1", "1", "COMPLETING", "alice", "n2")


@pytest.mark.parametrize(
    ("claim", "is_ours"),
    [
        ("requeue=0/n1/i-9", True),
        ("", False),  # requeued by a person, or after a failure
        ("requeue=0/n2/i-1", False),  # by the agent of this very node: its evacuation has the files
        ("requeue=1/n1/i-9", False),  # of another life
    ],
)
async def test_a_node_has_part_of_a_job_that_the_agent_of_another_node_has_requeued(files, tmp_path, claim, is_ours):
    (tmp_path / "7").write_text("0 n[1-2]\n")
    slurm = Children(jobs=[ENDING], restarts=1, state="COMPLETING")
    slurm.comments["7"] = f"hpc-agent:1 {claim}"
    part = await files(slurm).of_peer(7, life=0)
    assert (part is not None) is is_ours
    if part is not None:
        assert (part.rank, part.life, part.quiesced, part.alone, part.paths) == (1, 0, True, False, ("/scratch/7",))
    assert await files(slurm).of_peer(8, life=0) is None


async def test_p6_without_an_answer_of_slurm_the_files_are_saved_and_a_person_is_told(files):
    class Away:
        async def run(self, argv, **_options):
            return Finished(code=1, out="", err="slurm_load_jobs error: Unable to contact slurm controller\n")

    records, [sentence] = await files(Away()).here()
    assert records == []
    assert sentence.startswith("jobs will not find these files again: squeue ")


async def test_slurm_vouches_for_the_head_of_every_job_by_the_name_it_knows_it_by(files):
    slurm = Children()
    mine = files(slurm)
    assert await mine.vouch(await mine.records([JOB, TASK]), SAVED, until=0.0) == []
    assert set(slurm.comments) == {"7", "8_3"}
    [kept] = AdminComment.parse(slurm.comments["7"]).kept
    assert (kept.key, kept.digest, kept.life, kept.rank) == (KEY, "ab" * 32, 0, 1)


async def test_a_word_that_another_node_has_written_over_stands_again_and_one_that_stands_is_not_written_again(files):
    slurm = Children()
    mine = files(slurm)
    records = await mine.records([JOB])
    for _ in range(2):
        assert await mine.vouch(records, SAVED, until=0.0) == []
    assert len(slurm.writes) == 1
    slurm.comments["7"] = "hpc-agent:1 requeue=0/n1/i-9"
    assert await mine.vouch(records, SAVED, until=0.0) == []
    comment = AdminComment.parse(slurm.comments["7"])
    assert (comment.claim.node, [one.key for one in comment.kept]) == ("n1", [KEY])


async def test_a_word_that_stands_is_no_trouble_when_the_next_life_has_begun(files):
    slurm = Children()
    mine = files(slurm)
    records = await mine.records([JOB])
    await mine.vouch(records, SAVED, until=0.0)
    slurm.restarts = 1
    assert await mine.vouch(records, SAVED, until=0.0) == []
    del slurm.comments["7"]
    assert await mine.vouch(records, SAVED, until=0.0) == ["job 7 has gone on without these files"]
    assert len(slurm.writes) == 1


async def test_p6_a_job_that_slurm_does_not_know_keeps_no_other_from_its_files(files):
    slurm = Children(gone={"7"})
    mine = files(slurm)
    [sentence] = await mine.vouch(await mine.records([JOB, TASK]), SAVED, until=0.0)
    assert sentence.startswith("job 7 ")
    assert set(slurm.comments) == {"8_3"}


async def test_the_note_for_people_names_head_and_job(files):
    node = Node(
        name=NodeName("n2"),
        cluster="lab-0badcafe",
        instance_id=InstanceId("i-1"),
        boot_id=BootId("b"),
        writer="AROA:i-1",
    )
    [note] = pointers(await files(Children()).records([JOB]), SAVED, node)
    assert note.name == "jobs/lab-0badcafe/7/AROA:i-1/0-1.json"
    assert (note.document["head"], note.document["job"]["complete"]) == (KEY, True)
