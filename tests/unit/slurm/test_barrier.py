"""Whether the Epilog waits for us: found in the files that the configuration names; unknown is no."""

import pytest

from agent.processes import ChildTimedOut, SystemProcesses
from agent.slurm.barrier import Barrier, find_barrier, scripts
from tests.fakes.slurm import Scripted


def test_scripts_are_one_or_several():
    assert scripts({"Epilog": "/a,/b/*", "EpilogMsgTime": "2000 usec"}, "Epilog") == ["/a", "/b/*"]
    assert scripts({"Epilog[0]": "/a", "Epilog[1]": "/b"}, "Epilog") == ["/a", "/b"]
    assert scripts({"Epilog": ""}, "Epilog") == []


@pytest.mark.parametrize("pattern", ["{}/90-hpc-agent.sh", "/no/such,{}/*"])
async def test_a_barrier_is_found_by_name_and_by_pattern(tmp_path, pattern):
    (tmp_path / "90-hpc-agent.sh").write_text("exec /opt/hpc-agent/current/bin/hpc-agent epilog\n")
    values = {"Epilog": pattern.format(tmp_path), "EpilogTimeout": "65534", "PrologEpilogTimeout": "600 sec"}
    assert await find_barrier(values, SystemProcesses()) == Barrier(
        present=True, detail="the Epilog waits for the agent", seconds=600.0
    )


@pytest.mark.parametrize("epilog", ["", "{}/*", "{}/other.sh"])
async def test_an_epilog_of_somebody_else_is_no_barrier(tmp_path, epilog):
    (tmp_path / "other.sh").write_text("exit 0\n")
    found = await find_barrier({"Epilog": epilog.format(tmp_path)}, SystemProcesses())
    assert found == Barrier(present=False, detail="no barrier: no Epilog of Slurm calls the agent")


async def test_p5_an_epilog_that_can_not_be_looked_at_is_no_barrier():
    found = await find_barrier({"Epilog": "/nfs/epilog"}, Scripted([ChildTimedOut("run", "grep", "no answer")]))
    assert not found.present
    assert "/nfs/epilog" in found.detail
