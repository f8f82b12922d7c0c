"""`hpc-agent doctor` on real Slurm nodes with an IMDS and a real S3: a healthy node, and one that S3 refuses."""

import json

import pytest

from tests.fakes.lab import is_drained
from tests.fakes.s3proxy import Kind

pytestmark = [pytest.mark.slurm, pytest.mark.s3]


def examined(node, *, code, user=""):
    done = node.command("doctor", "--json", user=user)
    assert done.returncode == code, (done.stdout[-3000:], done.stderr)
    document = json.loads(done.stdout)
    assert document["seconds"] < 20
    return document, {one["name"]: one for one in document["findings"]}


def test_a_healthy_node_is_found_healthy_by_root_and_by_a_user_and_is_not_touched(cluster, instance):
    n1 = instance("n1")
    document, found = examined(n1, code=0)
    levels = {name: one["level"] for name, one in found.items()}
    assert document["schema"] == 1
    assert [name for name, level in levels.items() if level == "red"] == []
    healthy = ["imds", "identity", "clock", "writer", "s3 write", "s3 read", "s3 list", "s3 multipart", "slurm"]
    healthy += ["slurm node", "drain right", "scratch /scratch", "metrics port", "mode"]
    assert {name: levels[name] for name in healthy} == dict.fromkeys(healthy, "green"), found
    assert found["barrier"]["level"] == "yellow"
    assert "watching" in found["daemon"]["detail"]  # yellow or green: not all that it can do is there without systemd
    assert not is_drained(cluster, "n1")

    _, seen_by_alice = examined(n1, code=0, user="alice")
    assert seen_by_alice["drain right"]["level"] == "unknown"
    assert seen_by_alice["drain right"]["hint"] == "run as root"


def test_a_node_without_a_daemon_that_s3_refuses_is_red_and_told_which_statements_to_add(instance, proxy):
    proxy.control.fault(Kind.ANSWER, method="PUT", status=403, code="AccessDenied")
    proxy.control.fault(Kind.ANSWER, method="POST", status=403, code="AccessDenied")
    n1 = instance("n1", endpoint=proxy.endpoint, run=False)
    _, found = examined(n1, code=1)
    assert {found[name]["level"] for name in ("s3 write", "s3 multipart", "daemon")} == {"red"}
    assert (found["s3 read"]["level"], found["s3 list"]["level"]) == ("green", "green")
    assert '"s3:PutObject"' in found["s3 write"]["hint"]
    assert "arn:aws:s3:::rescue/hpc-agent/probe/${aws:userid}/*" in found["s3 write"]["hint"]
