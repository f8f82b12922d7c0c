"""Jobs of a node that goes find their files again: heads that know them, and Slurm's word before they are let go."""

import asyncio

import pytest

from agent.chance import SeededChance
from agent.daemon.jobfiles import JobFiles
from agent.evacuation.phases import Phase
from agent.evacuation.state import Outcome
from agent.jobs.lives import Lives
from agent.model.mode import Mode
from agent.slurm.admin_comment import AdminComment
from agent.slurm.command import Scontrol
from agent.slurm.errors import SlurmUnavailable
from tests.fakes.imds_time import play
from tests.fakes.jobfiles import Children, FakeFiles
from tests.fakes.jobs import FakeJobs, job
from tests.fakes.node import FakeCopier
from tests.fakes.stage import Scene


def evacuated(*jobs, is_barrier=False, ends_after=0.0, mode=Mode.ACT, copier=None, files_of=FakeFiles, **wrong):
    async def scene():
        held = FakeJobs(*jobs, ends_after=ends_after)
        files = files_of(held, **wrong)
        async with Scene(jobs=held, files=files, is_barrier=is_barrier, mode=mode, copier=copier).running() as stage:
            stage.notice()
            await stage.until(Phase.RESTING, within=121)
            stage.files = files
            return stage

    return play(scene)


def quiesced(stage):
    """For each copy, which jobs its heads call quiesced."""
    return [{one["job"]: one["quiesced"] for one in save.jobs} for save in stage.copier.saves]


def last_record(stage):
    return stage.copier.records[-1].document


@pytest.mark.parametrize("is_barrier", [False, True])
def test_the_head_of_the_delta_says_that_the_job_was_still_and_slurm_vouches_for_it(is_barrier):
    stage = evacuated(job(), is_barrier=is_barrier)
    assert quiesced(stage) == [{7: False}, {7: True}]
    [(at, refs, key)] = stage.files.vouched
    state = stage.runner.state
    assert (refs, key) == (["7"], state.saved.key)
    assert state.entered[Phase.COMMITTING] <= at <= state.entered[Phase.RELEASING]
    if not is_barrier:
        assert at <= stage.jobs.at("requeue", "7")


class SilentOnceStopped(FakeFiles):
    """Slurm tells nothing from when the job is stopped."""

    async def all(self):
        if self.jobs.words("freeze", "requeue"):
            await asyncio.Event().wait()
        return await super().all()


class FailingOnceStopped(FakeFiles):
    """Slurm fails three times when it is asked after the job was stopped."""

    failures = 3

    async def all(self):
        if self.jobs.words("freeze", "requeue") and self.failures:
            self.failures -= 1
            raise SlurmUnavailable("squeue", "-h", "Zero Bytes were transmitted or received")
        return await super().all()


@pytest.mark.parametrize("is_barrier", [False, True])
@pytest.mark.parametrize("files_of", [SilentOnceStopped, FailingOnceStopped])
def test_p6_a_job_seen_to_be_still_is_called_quiesced_also_when_slurm_does_not_answer_at_the_delta(
    files_of, is_barrier
):
    stage = evacuated(job(), files_of=files_of, is_barrier=is_barrier)
    assert quiesced(stage) == [{7: False}, {7: True}]
    assert [refs for _, refs, _ in stage.files.vouched] == [["7"]]


def vouching(tmp_path, **slurm):
    """A job frozen and given back while Slurm takes words as `slurm` says; `silent_for` is in seconds of the notice."""
    children = Children()

    class Files(FakeFiles):
        async def vouch(self, records, saved, *, until):
            return await real.vouch(records, saved, until=until)

    class Copier(FakeCopier):
        def _head(self, command):
            head = super()._head(command)
            key = f"checkpoints/lab-0badcafe/n1/AROA:i-1/20261123T091500.123Z-1a2b3c4d.{head['n']}.json"
            return {**head, "key": key, "digest": "ab" * 32}

    scontrol, lives = Scontrol(children, "scontrol"), Lives(tmp_path)
    real = JobFiles("n1", scontrol, templates=[], lives=lives, chance=SeededChance(1))

    async def scene():
        jobs = FakeJobs(job())
        async with Scene(jobs=jobs, files=Files(jobs), copier=Copier()).running() as stage:
            stage.began = asyncio.get_running_loop().time()
            children.down = slurm.get("down", 0)
            children.silent_until = stage.began + slurm.get("silent_for", 0.0)
            stage.notice()
            await stage.until(Phase.RESTING, within=121)
            return stage, children

    return play(scene)


def test_p6_slurm_is_asked_again_to_vouch_before_the_commit_is_over(tmp_path):
    stage, children = vouching(tmp_path, down=5)
    [written_at] = children.writes
    assert written_at <= stage.runner.state.entered[Phase.RELEASING]
    assert last_record(stage)["trouble"] == []


def test_p6_a_frozen_job_is_requeued_with_slurms_word_also_when_that_is_silent_until_after_the_commit(tmp_path):
    stage, children = vouching(tmp_path, silent_for=115.4)
    [written_at] = children.writes
    assert stage.runner.state.entered[Phase.RELEASING] < written_at < stage.jobs.at("requeue", "7")
    [kept] = AdminComment.parse(children.comments["7"]).kept
    assert kept.key == stage.runner.state.saved.key
    assert last_record(stage)["trouble"] == []


def test_p6_without_slurms_word_a_job_is_requeued_all_the_same_and_a_person_is_told(tmp_path):
    stage, children = vouching(tmp_path, silent_for=1000.0)
    assert children.writes == []
    assert stage.jobs.at("requeue", "7") - stage.began <= 118
    assert any("files again" in what for what in last_record(stage)["trouble"])
    assert stage.runner.state.phase is Phase.RESTING


def test_a_job_whose_processes_do_not_end_is_not_called_quiesced():
    assert quiesced(evacuated(job(), is_barrier=True, ends_after=1000.0)) == [{7: False}, {7: False}]


def test_the_notes_for_people_are_stored_before_the_outcome():
    names = [record.name.split("/")[0] for record in evacuated(job()).copier.records]
    assert names == ["jobs", "outcomes"]


def test_a_job_that_can_not_come_back_is_in_the_head_and_not_vouched_for():
    stage = evacuated(job(), job(8, is_requeueable=False))
    assert set(quiesced(stage)[-1]) == {7, 8}
    assert stage.files.vouched[0][1] == ["7"]


@pytest.mark.parametrize("wrong", [{"hangs": True}, {"refuses": "job 7 has gone on without these files"}])
def test_p6_a_word_that_slurm_does_not_take_is_told_and_keeps_no_job(wrong):
    stage = evacuated(job(), **wrong)
    assert stage.runner.state.outcome is Outcome.COMPLETE
    assert stage.jobs.words("requeue") == ["requeue 7"]
    assert "files" in stage.runner.state.trouble["release"].what
    assert any("without these files" in what or "in time" in what for what in last_record(stage)["trouble"])


def test_p6_without_slurms_list_of_jobs_the_files_are_saved_and_the_outcome_says_so():
    stage = evacuated(job(), down=True)
    assert stage.runner.state.outcome is Outcome.COMPLETE
    assert any("may not find their files" in what for what in last_record(stage)["trouble"])
    assert stage.files.vouched == []


def test_p6_notes_that_can_not_be_stored_keep_no_job_and_no_outcome():
    class Copier(FakeCopier):
        async def record(self, command, listen):
            if command.name.startswith("jobs/"):
                await asyncio.Event().wait()
            await super().record(command, listen)

    copier = Copier()
    stage = evacuated(job(), copier=copier)
    assert stage.jobs.words("requeue") == ["requeue 7"]
    assert any("which head holds whose files" in what for what in last_record(stage)["trouble"])
    assert "which head holds whose files" in stage.runner.state.trouble["release"].what


def test_p4_save_only_vouches_for_nothing():
    assert evacuated(job(), mode=Mode.SAVE_ONLY).files.vouched == []
