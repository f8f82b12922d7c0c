"""Which processes a job has here, as `scontrol listpids` of 22.05 tells."""

import pytest

from agent.slurm.command import Scontrol
from agent.slurm.errors import SlurmUnavailable
from agent.slurm.freeze import Processes
from tests.fakes.slurm import Scripted, said


def processes(*answers):
    return Processes(scontrol=Scontrol(Scripted(list(answers)), "scontrol"))


@pytest.mark.parametrize(
    "words",
    [
        "There are no steps for job 2 on this node.",
        "JobId=2 does not exist on node (null).",
        "Invalid job id specified",
    ],
)
async def test_a_job_that_has_left_the_node_has_no_processes(words):
    assert await processes(said(err=f"{words}\n", code=1)).of(2) == []


async def test_p5_no_answer_is_not_no_processes():
    with pytest.raises(SlurmUnavailable):
        await processes(said(err="slurm_load_jobs error: Unable to contact slurm controller\n", code=1)).of(2)
