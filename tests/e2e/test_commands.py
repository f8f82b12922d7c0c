"""The commands as people type them on a node: by the daemon and without one, with a role's credentials, to real S3."""

import gzip
import hashlib
import json
import os
import shutil
import sys
import time
from pathlib import Path

import pytest

from agent.checkpoint import head as heads
from agent.checkpoint.keys import HeadKey, head_key
from agent.demo.stage import AGENT, BUCKET
from agent.model.checkpoint import SegmentRef
from tests.fakes.checkpoints import PASS, a_head
from tests.fakes.evacuating import FEW_STREAMS, planted, slow_down
from tests.fakes.lab import scratch, until
from tests.fakes.s3proxy import Kind
from tests.fakes.trees import differences, picture, plant

pytestmark = [pytest.mark.slurm, pytest.mark.s3]

PROJECT = Path(__file__).parents[2]
BACK = "/tmp/back"
LEFTOVER = ".hpc-agent-restore-"


def told(done, *, code=0):
    """Return the one document that a command printed, once its exit code is what it should be."""
    assert done.returncode == code, (done.stdout, done.stderr)
    document = json.loads(done.stdout)
    assert document["schema"] == 1
    return document


def back(node):
    return node.cluster.inside(node.name, BACK)


@pytest.fixture
def clean():
    """Removes what a test restored on a node."""
    nodes = []
    yield nodes.append
    for node in nodes:
        shutil.rmtree(back(node), ignore_errors=True)


def test_the_daemon_makes_a_checkpoint_that_is_listed_verified_and_restored(instance, clean):
    n1 = instance("n1")
    clean(n1)
    tree, _ = planted(n1, size=12_000_000)
    files = sum(seen[0] == "file" for seen in tree.values())
    made = told(n1.command("checkpoint", "--json"))
    assert (made["outcome"], made["files"], made["left"]["files"], made["trouble"]) == ("COMPLETE", files, 0, [])
    assert n1.status()["checkpoint"]["id"] == made["checkpoint_id"]

    found = told(n1.command("checkpoints", "--node", "n1", "--json"))["checkpoints"][0]
    assert {name: found[name] for name in ("id", "reason", "complete", "files", "bytes", "key", "digest")} == {
        "id": made["checkpoint_id"],
        "reason": "manual",
        "complete": True,
        **{name: made[name] for name in ("files", "bytes", "key", "digest")},
    }
    for deep in ((), ("--deep",)):  # a file without bytes has nothing to verify
        verified = told(n1.command("verify", made["checkpoint_id"], "--json", *deep))
        assert (verified["outcome"], verified["files"], verified["deep"]) == ("GOOD", files - 1, bool(deep))

    latest = ("restore", "--latest", "--node", "n1", "--to", BACK, "--json")
    restored = told(n1.command(*latest))
    assert (restored["checkpoint_id"], restored["outcome"]) == (made["checkpoint_id"], "COMPLETE")
    assert (restored["files"], restored["not_made"]) == (files, 1)
    assert differences(tree, picture(back(n1))) == []
    again = told(n1.command(*latest))
    assert (again["outcome"], again["skipped_existing"], again["bytes"]) == ("COMPLETE", files, 0)
    assert told(n1.command("restore", made["checkpoint_id"], "--to", BACK, "--dry-run", "--json"))["dry_run"]


def test_what_needs_the_daemon_exits_3_without_one(instance):
    n2 = instance("n2", run=False)
    for command in ("status", "checkpoint", "evacuate", "cancel"):
        done = n2.command(command)
        assert (done.returncode, done.stdout) == (3, ""), command
        assert "systemctl status hpc-agent" in done.stderr
        assert done.stderr.count("\n") == 1


def test_what_was_not_meant_exits_2(instance):
    n2 = instance("n2", run=False)
    for command in (
        ("restore", "--to", BACK),
        ("restore", "yesterday", "--to", BACK),
        ("restore", "--latest"),
        ("verify", "../../etc/passwd"),
        ("checkpoint", "--from", "/scratch"),
        ("checkpoints", "--from", "http://rescue/"),
    ):
        done = n2.command(*command)
        assert (done.returncode, done.stdout) == (2, ""), command


def test_what_is_not_there_exits_5_and_what_cannot_be_reached_1(instance, clean):
    n3 = instance("n3", run=False)
    clean(n3)
    for command in (("restore", PASS, "--to", BACK), ("restore", "--latest", "--cluster", "no-00000000", "--to", BACK)):
        assert n3.command(*command).returncode == 5, command
    assert n3.command("verify", PASS).returncode == 5
    missing = n3.command("checkpoints", "--from", "s3://no-such-bucket/x")
    assert missing.returncode == 1
    assert "no-such-bucket" in missing.stderr
    assert not back(n3).exists()


def test_a_checkpoint_asked_for_beside_another_or_an_evacuation_is_refused(instance, proxy):
    n1 = instance("n1", endpoint=proxy.endpoint, settings=FEW_STREAMS)
    planted(n1, size=12_000_000)
    slow_down(proxy.control, 0.3)
    first = n1.spawn([*AGENT, "checkpoint"])
    until(lambda: any("/data/" in seen.key for seen in proxy.control.log()), "the first sends", seconds=30)
    refused = n1.command("checkpoint")
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "one is being made already" in refused.stderr

    n1.imds.interrupt()
    assert first.wait(timeout=10) == 1
    assert "gave way to an evacuation" in n1.log.read_text()
    refused = n1.command("checkpoint")
    assert refused.returncode == 1
    assert "an evacuation is going on" in refused.stderr
    proxy.control.lift()
    assert n1.until_state("resting", seconds=30)["outcome"] == "COMPLETE"


def test_a_file_that_is_written_all_the_time_is_torn_and_exits_4(instance, clean):
    n2 = instance("n2")
    clean(n2)
    work = scratch(n2.cluster, "n2")
    (work / "still").write_bytes(b"still")
    whole = told(n2.command("checkpoint", "--json"))
    (work / "busy").write_bytes(bytes(20_000_000))
    write = "import os\nf = os.open('/scratch/busy', os.O_WRONLY)\nwhile os.utime(f) is None:\n os.pwrite(f, b'x', 0)"
    writer = n2.cluster.popen("n2", [sys.executable, "-c", write])
    try:
        until(lambda: (work / "busy").read_bytes()[:1] == b"x", "it writes", seconds=30)
        torn = told(n2.command("checkpoint", "--json"), code=4)
    finally:
        writer.kill()
        writer.wait()
    assert (torn["outcome"], torn["totals"]["torn"]) == ("PARTIAL", 1)
    restored = told(n2.command("restore", torn["checkpoint_id"], "--to", BACK, "--json"), code=4)
    assert (restored["outcome"], restored["torn"], restored["files"]) == ("PARTIAL", 1, 2)
    latest = ("restore", "--latest", "--node", "n2", "--to", BACK, "--dry-run", "--json")
    assert told(n2.command(*latest))["checkpoint_id"] == whole["checkpoint_id"]
    assert told(n2.command(*latest, "--any"), code=4)["checkpoint_id"] == torn["checkpoint_id"]


def test_bytes_that_come_back_other_than_they_were_exit_6_and_are_not_restored(instance, proxy, clean):
    n3 = instance("n3", endpoint=proxy.endpoint, settings=FEW_STREAMS)
    clean(n3)
    tree, _ = planted(n3, size=3_000_000)
    made = told(n3.command("checkpoint", "--json"))
    proxy.control.fault(Kind.CORRUPT, method="GET", key="out-7.dat")
    hurt = [name for name in tree if name.endswith("out-7.dat")]
    restored = n3.command("restore", made["checkpoint_id"], "--to", BACK, "--json")
    problems = told(restored, code=6)["problems"]
    assert [one["path"] for one in problems] == [f"/scratch/{hurt[0]}"]
    assert "out-7.dat" in restored.stderr
    apart = differences(tree, picture(back(n3)))
    assert apart == [f"only in the first: {hurt[0]!r}"]
    damaged = told(n3.command("verify", made["checkpoint_id"], "--deep", "--json"), code=6)
    assert (damaged["outcome"], [one["path"] for one in damaged["problems"]]) == ("DAMAGED", [f"/scratch/{hurt[0]}"])
    assert told(n3.command("verify", made["checkpoint_id"], "--json"))["outcome"] == "GOOD"

    proxy.control.lift()
    assert told(n3.command("restore", made["checkpoint_id"], "--to", BACK, "--json"))["files"] == 1
    assert differences(tree, picture(back(n3))) == []


def test_a_restore_that_was_killed_is_run_again_and_completes(instance, proxy, clean):
    n1 = instance("n1", endpoint=proxy.endpoint, settings=FEW_STREAMS)
    clean(n1)
    tree, _ = planted(n1, size=20_000_000)
    made = told(n1.command("checkpoint", "--json"))
    proxy.control.forget()
    proxy.control.fault(Kind.LATENCY, method="GET", key="/data/", seconds=0.1)
    killed = n1.spawn([*AGENT, "restore", made["checkpoint_id"], "--to", BACK])
    until(lambda: len(proxy.control.log()) > 20, "it restores", seconds=10, every=0.01)
    killed.kill()
    assert killed.wait() == -9
    proxy.control.lift()
    kept = {path.name for path in back(n1).rglob("*") if path.is_file()}
    assert any(name.startswith("out-") for name in kept)
    whole = {Path(name).name: seen[-3] for name, seen in tree.items() if seen[0] == "file"}
    there = {path.name: path.stat().st_size for path in back(n1).rglob("out-*")}
    assert there.items() <= whole.items()

    again = told(n1.command("restore", made["checkpoint_id"], "--to", BACK, "--json"))
    assert (again["outcome"], again["skipped_existing"] > 0) == ("COMPLETE", True)
    assert differences(tree, picture(back(n1))) == []
    assert not list(back(n1).rglob(f"{LEFTOVER}*"))


def test_a_user_saves_and_restores_a_directory_of_hers_without_a_daemon(instance):
    n2 = instance("n2", run=False)
    hers = scratch(n2.cluster, "n2") / "hers"
    plant(hers, files=20, size=9_000_000)
    os.chown(hers, 4242, 4242)
    address = f"s3://{BUCKET}/alice"
    save = ("checkpoint", "--standalone", "--from", "/scratch/hers", "--to", address, "--json")
    made = told(n2.command(*save, user="alice"))
    assert made["outcome"] == "COMPLETE"
    restore = ("restore", made["checkpoint_id"], "--from", address, "--to", "/scratch/again", "--json")
    assert told(n2.command(*restore, user="alice"))["outcome"] == "COMPLETE"
    assert {name: seen[4:] for name, seen in picture(hers).items()} == {
        name: seen[4:] for name, seen in picture(hers.parent / "again").items()
    }

    (hers / "roots").write_bytes(b"not hers")
    (hers / "roots").chmod(0o600)
    partial = n2.command(*save, user="alice")
    document = told(partial, code=4)
    assert (document["outcome"], document["left"]["files"]) == ("PARTIAL", 1)
    assert b"roots" in json.dumps(document["left"]["paths"]).encode()


PLANTED = {
    "a directory above": [("../outside", ["evil"], "f")],
    "a name above": [("", ["../outside/evil"], "f")],
    "a name from the top": [("", ["/tmp/outside/evil"], "f")],
    "a directory behind a link": [("", ["way"], "l"), ("way", ["evil"], "f")],
    "a directory behind a directory above": [("way/../../outside", ["evil"], "f")],
}


def a_line(folder, names, kind):
    row = [kind, 0o644, 0, 0, 0, 10**18, 10**18, 7]
    more = {str(number): {"target": "/tmp/outside"} for number in range(len(names))} if kind == "l" else {}
    found = {"root": 0, "dir": folder, "stat": [0o755, 0, 0, 10**18, 10**18, 7], "names": names}
    return {**found, "rows": [row for _ in names], "objects": [], **({"more": more} if more else {})}


def plant_checkpoint(node, bucket, lines):
    """Put a checkpoint with such lines into the bucket, with all checksums right; return its address."""
    first = {"schema": 1, "format": "hpc-agent segment"}
    body = gzip.compress(b"".join(json.dumps(line, separators=(",", ":")).encode() + b"\n" for line in (first, *lines)))
    prefix, key = f"planted-{time.monotonic_ns()}", f"data/AROA:i-0123/{PASS}/seg-1.jsonl.gz"
    digest = hashlib.sha256(body).hexdigest()
    ref = SegmentRef(key=key, size=len(body), sha256=digest, directories=len(lines), entries=len(lines))
    head = a_head(segments=(ref,))
    name = HeadKey(cluster=head.cluster, node=head.node, writer=head.writer, checkpoint=head.checkpoint, n=head.n)
    top = node.cluster.shared / "planted"
    for where, content in ((key, body), (head_key(name), heads.encode(head))):
        (top / prefix / where).parent.mkdir(parents=True, exist_ok=True)
        (top / prefix / where).write_bytes(content)
    command = [sys.executable, "-m", "tests.fakes.put_objects", BUCKET, "/shared/planted"]
    node.cluster.run("head", command, env=bucket.environment, cwd=str(PROJECT), check=True)
    shutil.rmtree(top)
    return f"s3://{BUCKET}/{prefix}"


def test_p8_a_planted_checkpoint_writes_nothing_outside_of_where_it_is_restored(instance, bucket, clean):
    n3 = instance("n3", run=False)
    clean(n3)
    outside = n3.cluster.inside("n3", "/tmp/outside")
    outside.mkdir()
    for name, lines in PLANTED.items():
        address = plant_checkpoint(n3, bucket, [a_line(*line) for line in lines])
        done = n3.command("restore", PASS, "--from", address, "--to", BACK)
        assert done.returncode in {1, 4, 6}, (name, done.stderr)
        assert "Traceback" not in done.stderr
        assert list(outside.iterdir()) == [], name
    outside.rmdir()

    address = plant_checkpoint(n3, bucket, [a_line("", ["beside"], "f"), a_line("within", ["good"], "f")])
    assert n3.command("restore", PASS, "--from", address, "--to", f"{BACK}/whole").returncode == 0
    assert sorted(path.name for path in (back(n3) / "whole").rglob("*")) == ["beside", "good", "within"]
