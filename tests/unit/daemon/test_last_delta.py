"""How long jobs run, and whether all they write is saved, on disks of gigabytes in simulated time at a capped rate."""

import asyncio

import pytest

from agent.evacuation.phases import Phase
from agent.evacuation.state import Outcome
from tests.fakes.ahead import Disk, DiskCopier
from tests.fakes.imds_time import LoopClock, play
from tests.fakes.jobs import FakeJobs, job
from tests.fakes.stage import Scene

MB = 10**6
WINDOW = 120.0
RATE = 50e6
"""Bytes a second: 5.25 GB go out in a Spot window but for its margin."""


def evacuated(files, *, writes=(), every=1.0, cache="/state/base"):
    """Evacuate a disk of `files` (bytes each) whose job writes those of the numbers in `writes`, one after the other
    and again, one each `every` seconds. Return the outcome and for how much of the window the job ran.
    """

    async def scene():
        jobs, disk = FakeJobs(job()), Disk(LoopClock())
        for number, size in enumerate(files):
            disk.write(f"{number:04}", size, age=3600.0)
        stage = Scene(jobs=jobs, copier=DiskCopier(disk, rate=RATE, cpu_seconds=0.1), cache=cache)
        async with stage.running(), asyncio.TaskGroup() as crew:
            writing = crew.create_task(_write(disk, jobs, files, writes, every))
            began = asyncio.get_running_loop().time()
            stage.notice(WINDOW)
            await stage.until(Phase.RESTING, within=WINDOW + 1)
            writing.cancel()
            return stage.runner.state.outcome, (jobs.at("freeze", "7") - began) / WINDOW

    return play(scene)


async def _write(disk, jobs, files, writes, every):
    while writes:
        for number in writes:
            await asyncio.sleep(every)
            if not jobs.frozen:
                disk.write(f"{number:04}", files[number])


@pytest.mark.parametrize("writes", [(), (0,)])
def test_with_4_gb_unsaved_the_job_runs_for_60_percent_of_the_window_and_all_is_saved(writes):
    outcome, share = evacuated([100 * MB] * 40, writes=writes)
    assert outcome is Outcome.COMPLETE
    assert share >= 0.6


def test_a_job_that_writes_all_of_its_files_again_is_stopped_in_time_for_them():
    """Of 1 GB a quarter was taken to change; all of it does."""
    outcome, share = evacuated([100 * MB] * 10, writes=range(10), every=2.0)
    assert outcome is Outcome.COMPLETE
    assert share >= 0.6


def test_a_job_that_leaves_its_files_alone_runs_for_nearly_all_that_the_margin_leaves():
    outcome, share = evacuated([100 * MB] * 25)
    assert outcome is Outcome.COMPLETE
    assert share >= 0.8


def test_a_job_that_writes_one_large_file_over_and_over_is_given_time_for_one():
    outcome, share = evacuated([500 * MB, *[100 * MB] * 20], writes=[0], every=3.0)
    assert outcome is Outcome.COMPLETE
    assert share >= 0.7


def test_without_a_place_for_what_the_last_head_holds_nothing_is_measured_and_the_plan_is_as_before():
    outcome, share = evacuated([100 * MB] * 25, cache="")
    assert outcome is Outcome.COMPLETE
    assert 0.6 <= share < 0.8
