"""What Slurm tells a Prolog, read strictly."""

import pytest

from agent.jobs.start import JobStart

PROLOG = {
    "SLURM_JOB_ID": "7",
    "SLURM_JOB_UID": "4242",
    "SLURM_NODELIST": "n[1-2]",
    "SLURMD_NODENAME": "n2",
    "SLURM_JOB_RESTART_COUNT": "1",
    "SLURM_JOB_COMMENT": "hpc-agent:restore=off",
}


def test_a_job_is_read():
    assert JobStart.read(PROLOG) == JobStart(
        id=7, uid=4242, node="n2", node_list="n[1-2]", life=1, comment="hpc-agent:restore=off"
    )


def test_a_slurm_that_does_not_count_restarts_leaves_the_life_open():
    without = {name: value for name, value in PROLOG.items() if name != "SLURM_JOB_RESTART_COUNT"}
    assert JobStart.read(without).life is None


@pytest.mark.parametrize(
    "wrong", [{"SLURM_JOB_ID": ""}, {"SLURM_JOB_ID": "7; rm"}, {"SLURM_JOB_UID": "-1"}, {"SLURM_JOB_UID": "٣"}]
)
def test_what_is_no_job_is_refused(wrong):
    with pytest.raises(ValueError, match="SLURM_JOB"):
        JobStart.read({**PROLOG, **wrong})
