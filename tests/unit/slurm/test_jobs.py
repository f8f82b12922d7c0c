from pathlib import Path

import pytest

from agent.chance import SeededChance
from agent.processes import ChildTimedOut
from agent.slurm.command import Scontrol
from agent.slurm.errors import SlurmUnavailable
from agent.slurm.jobs import COLUMNS, TEXTS, Jobs, jobs, texts
from tests.fakes.slurm import Scripted, said

GOLDEN = Path(__file__).parents[2] / "golden" / "slurm" / "22.05"
SHOWN = (GOLDEN / "jobs.txt").read_text()
FREE = (GOLDEN / "job-texts.txt").read_text()
UNKNOWN = said(err="slurm_load_jobs error: Invalid job id specified\n", code=1)


class FixedChance(SeededChance):
    def token(self, digits):
        return "mark"


def asked(*answers):
    processes = Scripted(list(answers))
    return Jobs("n1", Scontrol(processes, "/opt/slurm/bin/scontrol"), FixedChance(1)), processes


def line(**values):
    shown = dict.fromkeys(COLUMNS, "1") | {"ArrayTaskID": "N/A", "State": "RUNNING"} | values
    return "".join(f"{shown[name]:<{width}}" for name, width in COLUMNS.items()) + "\n"


def test_jobs_are_read_as_this_version_prints_them():
    plain, task = jobs(SHOWN)
    assert (plain.ref, plain.uid, plain.user, plain.is_batch, plain.is_requeueable) == ("1", 4242, "alice", True, True)
    assert (plain.is_running, plain.life, plain.nodes, plain.node_list) == (True, 0, 1, "n1")
    assert (task.id, task.array, task.task, task.is_requeueable) == (2, 2, 4, False)
    assert (task.nodes, task.node_list) == (2, "n[1,3]")


def test_the_raw_number_of_an_arrays_last_task_is_never_used():
    assert [job.ref for job in jobs(SHOWN)] == ["1", "2_4"]


def test_a_users_texts_are_read_line_feeds_and_all():
    assert texts(FREE, "|mark|") == {
        1: ("", "", "wrap"),
        2: ("ours", "grüße", "two\nlines"),
    }


async def test_jobs_and_their_texts_are_two_questions_to_the_squeue_beside_scontrol():
    slurm, processes = asked(said(SHOWN), said(FREE))
    found = await slurm.all()
    assert [job.name for job in found] == ["wrap", "two\nlines"]
    assert [call[0] for call in processes.calls] == ["/opt/slurm/bin/squeue"] * 2


async def test_p8_a_name_that_looks_like_another_jobs_line_stays_a_name():
    forged = "\n".join(f"{value:<{width}}" for value, width in zip("1abc", TEXTS.values(), strict=True))
    shown = f"2|mark|(null)|mark|(null)|mark|{forged}|mark|\n"
    slurm, _ = asked(said(line(JobID="1") + line(JobID="2")), said(shown))
    one, two = await slurm.all()
    assert (one.comment, one.name) == ("", "")
    assert two.name == forged.strip()


async def test_without_jobs_nothing_more_is_asked():
    slurm, processes = asked(said(""))
    assert await slurm.all() == []
    assert len(processes.calls) == 1


async def test_a_job_that_slurm_has_forgotten_is_none():
    slurm, _ = asked(UNKNOWN)
    assert await slurm.one("7") is None


async def test_a_job_that_is_forgotten_between_the_questions_is_none():
    slurm, _ = asked(said(line(JobID="7")), UNKNOWN)
    assert await slurm.one("7") is None


async def test_one_task_is_found_among_those_that_wait():
    waiting = line(JobID="2", ArrayJobID="2", ArrayTaskID="5-9", State="PENDING")
    slurm, _ = asked(said(waiting + SHOWN.splitlines(keepends=True)[1]), said(FREE))
    job = await slurm.one("2_4")
    assert (job.ref, job.admin_comment) == ("2_4", "ours")


@pytest.mark.parametrize("answer", [said("Prolog says hello\n"), ChildTimedOut("run", "squeue", "no answer")])
async def test_p5_what_is_not_understood_is_unknown_and_not_no_jobs(answer):
    slurm, _ = asked(answer)
    with pytest.raises(SlurmUnavailable):
        await slurm.all()
