import json
import re
from concurrent.futures import ThreadPoolExecutor

import pytest

from agent.processes import SystemProcesses
from agent.slurm.cluster import STANDALONE, find_cluster, identity
from agent.slurm.command import Scontrol
from agent.slurm.errors import SlurmUnavailable
from agent.slurm.host import Host
from tests.fakes.slurm import Scripted, said

CONFIG = "ClusterName             = parallelcluster\nSlurmctldHost[0]        = {}\nKillWait = 30 sec\n"
ARN = "arn:aws:cloudformation:eu-west-1:123456789012:stack/hpc/{}"
FOLDER = "parallelcluster/3.16.1/clusters/hpc-{}/configs/cluster-config.yaml"


@pytest.fixture
def host(tmp_path):
    with ThreadPoolExecutor(1) as executor:
        yield Host(processes=SystemProcesses(), executor=executor, root=tmp_path)


async def find(host, *, setting="", environ=None, answer=None):
    scontrol = None if answer is None else Scontrol(Scripted([answer]), "scontrol")
    return (await find_cluster(host, setting=setting, environ=environ or {}, scontrol=scontrol)).value


def facts(host, text):
    file = host.at("/etc/chef/dna.json")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


def stack(name="hpc", **values):
    return json.dumps({"cluster": {"stack_name": name, **values}})


async def test_without_slurm_a_machine_stands_alone(host):
    assert await find(host) == STANDALONE


async def test_the_setting_is_taken_as_it_is(host):
    assert await find(host, setting="mine-1a2b3c4d") == "mine-1a2b3c4d"


async def test_all_queues_of_a_parallelcluster_are_one_cluster(host):
    key = FOLDER.format("kdfrnv4ns2jq")
    facts(host, stack(cluster_config_s3_key=key, stack_arn=ARN.format("1")))
    one = await find(host)
    facts(host, stack(cluster_config_s3_key=key, stack_arn=ARN.format("2")))
    assert await find(host) == one
    assert re.fullmatch(r"hpc-[0-9a-f]{8}", one)


async def test_a_parallelcluster_of_the_same_name_is_another_cluster(host):
    facts(host, stack(cluster_config_s3_key=FOLDER.format("kdfrnv4ns2jq")))
    one = await find(host)
    facts(host, stack(cluster_config_s3_key=FOLDER.format("zzzzzzzzzzzz")))
    assert await find(host) != one


async def test_the_stack_stands_in_where_the_folder_is_not_told(host):
    facts(host, stack(stack_arn=ARN.format("1")))
    assert await find(host) == identity("hpc", ARN.format("1"))


@pytest.mark.parametrize(
    "text", ["", "no json", "[]", "{}", '{"cluster": []}', stack(), stack(cluster_config_s3_key="x")]
)
async def test_facts_that_say_nothing_are_passed_over(host, text):
    facts(host, text)
    assert await find(host) == STANDALONE


async def test_pcs_is_known_by_its_cluster_id(host):
    environ = {"PCS_CLUSTER_ID": "pcs_abc", "PCS_CLUSTER_NAME": "sim"}
    assert await find(host, environ=environ) == identity("sim", "pcs_abc")
    assert (await find(host, environ={"PCS_CLUSTER_ID": "pcs_abc"})).startswith("pcs-")


async def test_a_plain_slurm_is_known_by_its_name_and_controller(host):
    one = await find(host, answer=said(CONFIG.format("head(10.0.0.1)")))
    assert re.fullmatch(r"parallelcluster-[0-9a-f]{8}", one)
    assert await find(host, answer=said(CONFIG.format("head(10.0.0.1)"))) == one
    assert await find(host, answer=said(CONFIG.format("head(10.0.0.2)"))) != one


@pytest.mark.parametrize("answer", [said(err="Unable to contact slurm controller", code=1), said("")])
async def test_p5_a_controller_that_does_not_answer_leaves_the_cluster_open(host, answer):
    with pytest.raises(SlurmUnavailable):
        await find(host, answer=answer)


@pytest.mark.parametrize("place", ["/etc/slurm/slurm.conf", "/run/slurm/conf/slurm.conf", "/site/my.conf"])
async def test_p6_while_the_controller_is_down_slurm_conf_tells_the_same(host, place):
    expected = await find(host, answer=said(CONFIG.format("head(10.0.0.1)")))
    file = host.at(place)
    file.parent.mkdir(parents=True)
    file.write_text(
        "# ClusterName=no\nclustername = ParallelCluster # old\nSlurmctldHost=head(10.0.0.1)\nSlurmctldHost=b\n"
    )
    down = said(err="Unable to contact slurm controller", code=1)
    assert await find(host, environ={"SLURM_CONF": "/site/my.conf"}, answer=down) == expected


async def test_a_slurm_conf_that_does_not_tell_leaves_the_cluster_open(host):
    file = host.at("/etc/slurm/slurm.conf")
    file.parent.mkdir(parents=True)
    file.write_text("Include /elsewhere\n")
    with pytest.raises(SlurmUnavailable):
        await find(host, answer=said(err="Unable to contact slurm controller", code=1))


def test_a_name_keeps_only_what_a_key_can_have():
    assert re.fullmatch(r"a-b-c\.d_e-[0-9a-f]{8}", identity("a b/c.d_e", "x"))
    assert len(identity("x" * 500, "x")) <= 128
