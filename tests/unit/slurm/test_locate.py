from concurrent.futures import ThreadPoolExecutor

import pytest

from agent.processes import ChildTimedOut, SystemProcesses
from agent.slurm.command import Scontrol
from agent.slurm.errors import SlurmMissing, SlurmUnavailable
from agent.slurm.host import Host
from agent.slurm.locate import find_node_name, find_scontrol
from tests.fakes.slurm import Scripted, record, said

NOT_FOUND = said("Node host-1 not found\n", code=1)
NO_ANSWER = said(err="slurm_load_node error: Unable to contact slurm controller (connect failure)\n", code=1)


@pytest.fixture
def host(tmp_path):
    with ThreadPoolExecutor(1) as executor:
        yield Host(processes=SystemProcesses(), executor=executor, root=tmp_path)


def program(host, path):
    file = host.at(path)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("#!/bin/sh\n")
    file.chmod(0o755)
    return str(file)


def slurmd(host, program_path, *options):
    folder = host.at("/proc/66")
    folder.mkdir(parents=True)
    (folder / "comm").write_text("slurmd\n")
    (folder / "status").write_text("Uid:\t0\t0\t0\t0\n")
    (folder / "cmdline").write_bytes("\0".join(["slurmd", *options]).encode())
    (folder / "exe").symlink_to(program_path)


def scontrol(*answers):
    return Scontrol(Scripted(list(answers)), "scontrol")


async def test_the_setting_comes_first_and_is_not_replaced(host, tmp_path):
    program(host, "/opt/slurm/bin/scontrol")
    own = program(host, "/mine/scontrol")
    found = await find_scontrol(host, bin_dir=str(tmp_path / "mine"))
    assert (found.value, found.how) == (own, "setting slurm.bin_dir")
    with pytest.raises(SlurmMissing, match="there is no scontrol in /wrong"):
        await find_scontrol(host, bin_dir="/wrong", path="/usr/bin")


async def test_each_place_is_found_and_the_better_one_wins(host):
    slurmd(host, "/site/sbin/slurmd")
    places = [
        ("/usr/bin/scontrol", "PATH"),
        ("/opt/aws/pcs/scheduler/slurm-24.05/bin/scontrol", "PCS: highest version in /opt/aws/pcs/scheduler"),
        ("/opt/aws/pcs/scheduler/slurm-24.11/bin/scontrol", "PCS: highest version in /opt/aws/pcs/scheduler"),
        ("/site/bin/scontrol", "beside the running slurmd"),
        ("/etc/aws/pcs/scheduler/slurm/bin/scontrol", "PCS: /etc/aws/pcs/scheduler/slurm"),
        ("/opt/slurm/bin/scontrol", "ParallelCluster: /opt/slurm"),
    ]
    for path, how in places:
        expected = program(host, path)
        found = await find_scontrol(host, path="/bin:/usr/bin")
        assert (found.value, found.how) == (expected, how)


async def test_pcs_follows_its_link_to_the_version_in_use(host):
    program(host, "/opt/aws/pcs/scheduler/slurm-24.05/bin/scontrol")
    program(host, "/opt/aws/pcs/scheduler/slurm-25.05/bin/scontrol")
    link = host.at("/etc/aws/pcs/scheduler/slurm")
    link.parent.mkdir(parents=True)
    link.symlink_to("../../../../opt/aws/pcs/scheduler/slurm-24.05")
    found = await find_scontrol(host)
    assert found.value == str(link / "bin" / "scontrol")


async def test_versions_are_numbers_not_words(host):
    program(host, "/opt/aws/pcs/scheduler/slurm-9.11/bin/scontrol")
    newest = program(host, "/opt/aws/pcs/scheduler/slurm-24.05/bin/scontrol")
    program(host, "/opt/aws/pcs/scheduler/slurm-old/bin/scontrol")
    assert (await find_scontrol(host)).value == newest


async def test_a_machine_without_slurm_is_told_so(host):
    with pytest.raises(SlurmMissing, match=r"no Slurm on this machine.*slurm\.bin_dir"):
        await find_scontrol(host, path="/usr/bin::")


async def test_p5_a_file_system_that_does_not_answer_is_not_a_missing_slurm(tmp_path):
    stuck = Scripted([ChildTimedOut("run", "test -x", "no answer within 3 s")])
    with ThreadPoolExecutor(1) as executor:
        host = Host(processes=stuck, executor=executor, root=tmp_path)
        with pytest.raises(SlurmUnavailable, match="is its NFS server gone"):
            await find_scontrol(host, path="/usr/bin")


async def test_the_name_is_found_in_the_agreed_order(host):
    assert (await find_node_name(host, setting="own")).value == "own"
    slurmd(host, "/usr/sbin/slurmd", "-N", "n7")
    assert (await find_node_name(host)).how == "-N of the running slurmd"
    written = host.at("/etc/parallelcluster/slurm_plugin/slurm_nodename")
    written.parent.mkdir(parents=True)
    written.write_text("queue1-st-c7gd-1\n")
    assert (await find_node_name(host)).value == "queue1-st-c7gd-1"


async def test_the_node_with_our_instance_id_is_ours(host):
    nodes = said(record(name="a-1", instance_id="i-1") + record(name="a-2", instance_id="i-2"))
    found = await find_node_name(host, instance_id="i-2", host_name="ip-10-0-0-1", scontrol=scontrol(nodes))
    assert (found.value, found.how) == ("a-2", "scontrol show node: InstanceId=i-2")


async def test_the_short_host_name_is_ours_if_slurm_has_such_a_node(host):
    answers = scontrol(said(record(name="host-1")), said(record(name="host-1")))
    found = await find_node_name(host, instance_id="i-3", host_name="host-1.example.org", scontrol=answers)
    assert (found.value, found.how) == ("host-1", "host name")


async def test_a_host_that_slurm_does_not_know_is_told_what_to_set(host):
    with pytest.raises(SlurmMissing, match=r"Slurm has no node host-1.*set node\.name"):
        await find_node_name(host, host_name="host-1.example.org", scontrol=scontrol(NOT_FOUND))
    with pytest.raises(SlurmMissing, match="no scontrol to ask"):
        await find_node_name(host, host_name="host-1")


@pytest.mark.parametrize("answer", [NO_ANSWER, said("NodeName=broken\n")])
async def test_p5_a_controller_that_does_not_answer_leaves_the_name_open(host, answer):
    with pytest.raises(SlurmUnavailable):
        await find_node_name(host, instance_id="i-3", host_name="host-1", scontrol=scontrol(answer))
