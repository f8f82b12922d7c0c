"""Every part alone (P6): what is missing on a node switches off only what needs it, and says so."""

import itertools
import socket
import subprocess
import sys

import pytest

from tests.fakes.lab import is_drained, metrics, reason_of, sample, scratch, until
from tests.fakes.trees import differences, picture, plant

pytestmark = [pytest.mark.slurm, pytest.mark.s3]

COMBINATIONS = list(itertools.product((True, False), repeat=3))
NO_SLURM = '[slurm]\nbin_dir = "/opt/nothing"\n'


def named(there):
    return "-".join(name if is_there else f"no_{name}" for name, is_there in there.items())


@pytest.fixture
def systemd(cluster):
    """Where a daemon tells that it is ready; the same path on the host and in the node."""
    path = cluster.shared / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(path))
        listener.settimeout(10)
        yield listener
    path.unlink()


def saved(node):
    """What S3 holds of the node, brought back."""
    done = node.command("restore", "--latest", "--node", node.name, "--to", "/tmp/back")
    assert done.returncode == 0, done.stderr
    return picture(node.cluster.inside(node.name, "/tmp/back"))


def planted(cluster, node):
    plant(scratch(cluster, node) / "work")
    return picture(scratch(cluster, node))


@pytest.mark.parametrize(
    "there", [dict(zip(("scratch", "bucket", "slurm"), some, strict=True)) for some in COMBINATIONS], ids=named
)
def test_p6_with_any_part_missing_the_daemon_is_ready_and_a_notice_is_dealt_with_by_what_is_there(
    cluster, instance, systemd, there
):
    environment = {"NOTIFY_SOCKET": "/shared/notify"} | ({} if there["bucket"] else {"HPC_AGENT_S3__BUCKET": ""})
    n1 = instance("n1", settings="" if there["slurm"] else NO_SLURM, environment=environment, run=False)
    if there["scratch"]:
        plant(scratch(cluster, "n1") / "work")
    else:
        cluster.run("n1", ["umount", "/scratch"], check=True)
    n1.start_agent()
    assert systemd.recv(1000).splitlines()[0] == b"READY=1"

    def settled(status):
        return all(status["capabilities"][name]["on"] is not None for name in there)

    known = n1.until(settled, "what is there is known", seconds=30)["capabilities"]
    assert {name: known[name]["on"] for name in there} == there
    assert all(known[name]["detail"] and known[name]["hint"] for name in there if not there[name])
    shown = n1.command("status").stdout
    assert all((f"off         {name}: " in shown) is not is_there for name, is_there in there.items()), shown

    n1.imds.interrupt()
    status = n1.until_state("resting", seconds=30)
    can_save = there["scratch"] and there["bucket"]
    assert status["outcome"] == ("COMPLETE" if can_save else "NOTHING")
    assert status["drained_by_us"] is is_drained(cluster, "n1") is there["slurm"]
    assert any("use the " in one["what"] for one in status["trouble"]) is not can_save
    scraped = metrics(n1)
    assert {name: sample(scraped, f'hpc_agent_capability{{name="{name}"}}') == 1 for name in there} == there
    assert sample(scraped, f'hpc_agent_evacuations_total{{outcome="{"complete" if can_save else "nothing"}"}}') == 1


def test_p6_with_its_metrics_port_taken_the_agent_drains_and_saves(cluster, instance):
    taken = (
        "import socket, time; s = socket.create_server(('0.0.0.0', 9732)); print('taken', flush=True); time.sleep(99)"
    )
    with cluster.popen("n2", [sys.executable, "-c", taken], stdout=subprocess.PIPE) as other:
        assert other.stdout.readline() == "taken\n"
        n2 = instance("n2")
        tree = planted(cluster, "n2")
        http = n2.until(lambda status: status["capabilities"]["slurm"]["on"], "Slurm is known", seconds=30)
        assert http["capabilities"]["http"]["on"] is False
        assert "9732" in http["capabilities"]["http"]["detail"]
        n2.imds.interrupt()
        status = n2.until_state("resting", seconds=30)
        other.kill()
    assert (status["outcome"], status["drained_by_us"]) == ("COMPLETE", True)
    assert differences(tree, saved(n2)) == []


@pytest.mark.parametrize("options", ["ro", "size=4k"])
def test_p6_with_a_state_directory_that_can_not_be_written_the_agent_drains_and_saves(cluster, instance, options):
    n3 = instance("n3", run=False)
    mount = f"mkdir -p /var/lib/hpc-agent && mount -t tmpfs -o {options} lab /var/lib/hpc-agent"
    cluster.run("n3", ["sh", "-c", mount], check=True)
    n3.start_agent()
    tree = planted(cluster, "n3")
    n3.imds.interrupt()
    status = n3.until_state("resting", seconds=30)
    assert (status["outcome"], status["drained_by_us"]) == ("COMPLETE", True)
    journal = status["capabilities"]["journal"]
    assert journal["on"] is False
    assert "restart" in journal["hint"]
    assert sample(metrics(n3), 'hpc_agent_capability{name="journal"}') == 0
    assert differences(tree, saved(n3)) == []


def test_p6_without_any_imds_an_operator_can_still_evacuate_the_node(cluster, instance, bucket):
    n1 = instance("n1", environment=bucket.environment, run=False)
    n1.imds.fault("refuse")
    n1.start_agent()
    tree = planted(cluster, "n1")
    assert n1.command("evacuate", "--deadline", "2m").returncode == 0
    status = n1.until_state("resting", seconds=30)
    assert (status["outcome"], status["drained_by_us"]) == ("COMPLETE", True)
    assert status["capabilities"]["imds"]["on"] is False
    assert reason_of(cluster, "n1").startswith("hpc-agent: operator ")
    assert differences(tree, saved(n1)) == []
    assert n1.command("cancel").returncode == 0
    until(lambda: not is_drained(cluster, "n1"), "the drain is lifted", seconds=30)


def test_in_observe_mode_the_agent_touches_nothing_and_says_what_it_would_have_done(cluster, instance):
    n2 = instance("n2", environment={"HPC_AGENT_MODE": "observe"})
    plant(scratch(cluster, "n2") / "work")
    n2.imds.interrupt()
    status = n2.until_state("resting", seconds=30)
    assert (status["mode"], status["outcome"], status["drain"]) == ("observe", "NOTHING", "none")
    assert status["withheld"] == [
        "the scratch would have been saved",
        "node n2 would have been drained: spot-terminate",
    ]
    assert not is_drained(cluster, "n2")
    listed = n2.command("checkpoints", "--node", "n2", "--json")
    assert n2.instance_id not in listed.stdout, listed.stdout
    assert sample(metrics(n2), 'hpc_agent_mode_info{mode="observe"}') == 1


def test_in_save_only_mode_the_agent_saves_and_leaves_slurm_alone(cluster, instance):
    n3 = instance("n3", environment={"HPC_AGENT_MODE": "save-only"})
    tree = planted(cluster, "n3")
    n3.imds.interrupt()
    status = n3.until_state("resting", seconds=30)
    assert status["capabilities"]["journal"] == {"on": True, "detail": "/var/lib/hpc-agent", "hint": ""}
    assert (status["mode"], status["outcome"], status["drain"]) == ("save-only", "COMPLETE", "none")
    assert status["withheld"] == ["node n3 would have been drained: spot-terminate"]
    assert not is_drained(cluster, "n3")
    assert differences(tree, saved(n3)) == []
