"""A job user who means harm, on a real node: what she may do does not make the agent, which is root, do more (P8)."""

import contextlib
import json
import os
import socket
import stat
import subprocess
import sys
import time
from itertools import cycle

import pytest

from agent.demo.stage import BUCKET, SOCKET
from tests.fakes.alice import FILE
from tests.fakes.evacuating import listed, stored
from tests.fakes.lab import metrics, sample, scratch, state_of, until
from tests.fakes.trees import ALICE

pytestmark = [pytest.mark.slurm, pytest.mark.s3]

FILES = 40
"""So many names are swapped: each walk meets a few of them at the wrong moment."""
ROUNDS = 3
SECRET = os.urandom(40_000)
SECRETS = ("/etc/secret", "/scratch/secret")
"""On another file system than what is saved, and on the same."""
ONLY_WORK = '[scratch]\npaths = ["/scratch/work"]\nrequire_mount = false\n'


@contextlib.contextmanager
def doing(node, deed, *arguments, user="alice"):
    """Have her do it while the context lasts."""
    argv = [sys.executable, str(FILE), deed, *map(str, arguments)]
    child = node.cluster.popen(node.name, argv, user=user, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    try:
        yield child
        assert child.poll() is None, child.stdout.read()
    finally:
        child.kill()
        child.wait()


def give(path):
    os.chown(path, ALICE, ALICE, follow_symlinks=False)


def hers(path, content=None):
    """Make a directory or a file of hers."""
    if content is None:
        path.mkdir(parents=True)
    else:
        path.write_bytes(content)
    give(path)


def hide_secrets(node):
    """Make directories outside of what is saved that are root's alone; each of their files holds the secret."""
    for place in SECRETS:
        folder = node.cluster.inside(node.name, place)
        folder.mkdir(mode=0o700)
        for number in range(FILES):
            (folder / f"file{number}").write_bytes(SECRET)
            (folder / f"file{number}").chmod(0o600)


def test_p8_what_a_link_shows_that_is_swapped_in_never_reaches_s3(instance, bucket):
    n1 = instance("n1", settings=ONLY_WORK)
    work = scratch(n1.cluster, "n1") / "work"
    hers(work)
    hide_secrets(n1)
    decoy = os.urandom(len(SECRET))
    pairs = []
    for number in range(FILES):
        file, link = work / f"file{number}", work / f".link{number}"
        hers(file, decoy)
        link.symlink_to(f"{SECRETS[number % 2]}/file{number}")
        pairs.append((file, link))
    for number in range(4):
        folder, link = work / f"folder{number}", work / f".way{number}"
        hers(folder)
        for below in range(FILES):
            hers(folder / f"file{below}", decoy)
        link.symlink_to(SECRETS[number % 2])
        pairs.append((folder, link))
    inside = [f"/scratch/work/{one.name}:/scratch/work/{other.name}" for one, other in pairs]
    with doing(n1, "swap", *inside):
        for _ in range(ROUNDS):
            done = n1.command("checkpoint", "--json")
            assert done.returncode in {0, 4}, done.stderr
        n1.imds.interrupt()
        n1.until_state("resting", seconds=30)
    everything = stored(n1, bucket, n1.instance_id)
    assert decoy in everything
    for start in range(0, len(SECRET), 1000):
        assert SECRET[start : start + 32] not in everything


def test_p8_what_is_no_file_is_recorded_and_never_opened(instance):
    n2 = instance("n2")
    work = scratch(n2.cluster, "n2") / "work"
    hers(work)
    hers(work / "file", b"content")
    fifos = [work / f"pipe{number}" for number in range(3)]
    for fifo in fifos:
        os.mkfifo(fifo)
        give(fifo)
    os.mknod(work / "device", stat.S_IFCHR | 0o666, os.makedev(1, 5))  # /dev/zero: it would never end
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(work / "socket"))
    give(work / "socket")
    with doing(n2, "listen_for_a_reader", *(f"/scratch/work/{fifo.name}" for fifo in fifos)) as alice:
        began = time.monotonic()
        done = n2.command("checkpoint", "--json")
        assert done.returncode == 0, done.stderr
        assert time.monotonic() - began < 10
    assert alice.stdout.read() == ""
    told = json.loads(done.stdout)
    assert (told["outcome"], told["files"], told["totals"]["skipped"]) == ("COMPLETE", 1, 5)
    back = n2.command("restore", told["checkpoint_id"], "--to", "/tmp/back", "--json")
    assert back.returncode == 0, back.stderr
    assert json.loads(back.stdout)["not_made"] == 5
    assert sorted(path.name for path in n2.cluster.inside("n2", "/tmp/back/work").iterdir()) == ["file"]


def test_p8_a_fifo_swapped_in_for_a_file_does_not_stop_the_agent(instance):
    n2 = instance("n2")
    work = scratch(n2.cluster, "n2") / "work"
    hers(work)
    for number in range(FILES):
        hers(work / f"file{number}", b"content" * 1000)
        os.mkfifo(work / f".pipe{number}")
        give(work / f".pipe{number}")
    with doing(n2, "swap", *(f"/scratch/work/file{n}:/scratch/work/.pipe{n}" for n in range(FILES))):
        for _ in range(2):
            done = n2.command("checkpoint", "--json", timeout=20)
            assert done.returncode in {0, 4}, done.stderr


def test_p8_p9_who_holds_or_floods_the_control_socket_shuts_nobody_else_out(instance):
    n3 = instance("n3")
    crowd = range(5000, 5020)
    with doing(n3, "hold", SOCKET, 100, ALICE, *crowd, user=""), doing(n3, "flood", SOCKET):
        time.sleep(1)
        for _ in range(3):
            began = time.monotonic()
            asked = n3.command("status")
            assert asked.returncode == 0, asked.stderr
            assert time.monotonic() - began < 3
        told = n3.command("evacuate", "--deadline", "5m")
        assert told.returncode == 0, told.stderr
        until(lambda: "DRAIN" in state_of(n3.cluster, "n3"), "DRAIN", seconds=30)
        n3.until_state("resting", seconds=30)
    until(lambda: n3.command("status", user="alice").returncode == 0, "there is room for alice again", seconds=30)
    assert "Traceback" not in n3.log.read_text()


def test_p8_who_holds_the_port_of_the_metrics_does_not_hide_them_from_another_machine(instance):
    n3 = instance("n3")
    n3.until_state("watching", seconds=30)
    with doing(n3, "hold_port", 9732, 200), doing(n3, "hold_port", 9732, 200):
        time.sleep(1)
        for _ in range(3):
            assert sample(metrics(n3, asked_by="head"), "hpc_agent_state") == 0
        n3.imds.interrupt()
        n3.until_state("resting", seconds=30)
        assert sample(metrics(n3, asked_by="head"), "hpc_agent_state") == 5
    assert "Traceback" not in n3.log.read_text()


def test_p8_rubbish_of_hers_on_the_control_socket_changes_nothing(instance):
    n3 = instance("n3")
    with doing(n3, "flood", SOCKET), doing(n3, "flood", SOCKET):
        time.sleep(2)
    status = until(n3.status, "it answers", seconds=30)
    assert (status["state"], status["notices"]) == ("watching", [])
    assert "Traceback" not in n3.log.read_text()
    assert "root asks" not in n3.log.read_text()


def test_p8_links_planted_where_root_restores_lead_nowhere(instance):
    n1 = instance("n1")
    source = n1.cluster.inside("n1", "/tmp/source")
    for number in range(FILES):
        (source / f"folder{number}" / "deep").mkdir(parents=True)
        for name in ("one", "deep/two"):
            (source / f"folder{number}" / name).write_bytes(os.urandom(500))
        (source / f"file{number}").write_bytes(os.urandom(500))
    address = f"s3://{BUCKET}/hostile"
    saved = n1.command("checkpoint", "--standalone", "--from", "/tmp/source", "--to", address, "--json")
    assert saved.returncode == 0, saved.stderr
    name = json.loads(saved.stdout)["checkpoint_id"]

    outside = [n1.cluster.inside("n1", f"{place}/outside") for place in ("/etc", "/scratch")]
    for folder in outside:
        folder.mkdir()
        (folder / "there").write_bytes(b"root's")
    before = looks(*outside)
    hers(scratch(n1.cluster, "n1") / "back")
    planted = [
        f"{path}:{place}/outside" for place, path in zip(cycle(("/etc", "/scratch")), restored_folders(), strict=False)
    ]
    planted += [f"/scratch/back/file{number}:/etc/outside/there" for number in range(FILES)]
    for path, _, target in (each.partition(":") for each in planted[: FILES // 2]):
        link = n1.cluster.inside("n1", path)
        link.symlink_to(target)
        give(link)
    codes = []
    with doing(n1, "plant_link", *planted):
        for more in ((), (), ("--overwrite",), ("--overwrite",)):
            done = n1.command("restore", name, "--from", address, "--to", "/scratch/back", "--json", *more)
            codes.append(done.returncode)
            assert "Traceback" not in done.stderr, done.stderr
    assert set(codes) <= {0, 1, 4}
    assert looks(*outside) == before
    assert listed(n1) == []


def restored_folders():
    """Where the directories of the checkpoint go, those above before those below."""
    above = [f"/scratch/back/folder{number}" for number in range(FILES)]
    return above + [f"{folder}/deep" for folder in above]


def looks(*folders):
    """What is there, and of whom it is."""
    found = {path: path.lstat() for folder in folders for path in (folder, *folder.rglob("*"))}
    return {path: (said.st_mode, said.st_uid, said.st_mtime_ns, said.st_nlink) for path, said in found.items()}
