"""The script of ParallelCluster's head node, run on a Slurm directory of its own."""

import os
import subprocess
import tarfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "packaging/parallelcluster/head-node.sh"
OURS = {
    "hpc-agent-task-prolog.sh": "task_prolog.d/hpc-agent.sh",
    "prolog.d/10-hpc-agent.sh": "prolog.d/10-hpc-agent.sh",
    "epilog.d/90-hpc-agent.sh": "epilog.d/90-hpc-agent.sh",
}


class HeadNode:
    def __init__(self, folder):
        self.folder = folder
        self.slurm = folder / "slurm"
        self.scripts = self.slurm / "etc/scripts"
        self.bundle = folder / "bundle.tar.gz"
        self.logged = folder / "logged"
        self.sha256 = "0" * 64

    def run(self, *arguments):
        return subprocess.run(
            ["sh", SCRIPT, *arguments, "--slurm", self.slurm],
            env={"PATH": f"{self.folder}/bin:{os.environ['PATH']}", "TMPDIR": str(self.folder)},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def install(self, *arguments):
        return self.run("--bundle", self.bundle, "--sha256", self.sha256, *arguments)

    def program(self, name, text):
        path = self.folder / "bin" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)

    def files(self):
        return {str(path.relative_to(self.scripts)) for path in self.scripts.rglob("*") if path.is_file()}


@pytest.fixture
def head(tmp_path):
    """A head node as ParallelCluster leaves it, and a bundle with nothing but what this is about."""
    node = HeadNode(tmp_path)
    for kind in ("prolog", "epilog"):
        (node.scripts / f"{kind}.d").mkdir(parents=True)
        (node.scripts / f"{kind}.d/90_pcluster").write_text("#!/bin/sh\n")
    (node.slurm / "etc/slurm.conf").write_text(
        f"Prolog={node.scripts}/prolog.d/*\nEpilog={node.scripts}/epilog.d/*\ninclude custom.conf\n"
    )
    with tarfile.open(node.bundle, "w:gz") as tar:
        tar.add(ROOT / "packaging/slurm", "hpc-agent-0.1.0-x86_64/slurm")
        tar.add(ROOT / "LICENSE", "hpc-agent-0.1.0-x86_64/LICENSE")
    node.sha256 = subprocess.run(["sha256sum", node.bundle], capture_output=True, text=True, check=True).stdout[:64]
    node.program("logger", f'echo "$@" >>{node.logged}')
    return node


@pytest.fixture
def before(head):
    return head.files()


def test_what_the_nodes_run_is_in_place_beside_what_was_there(head, before):
    done = head.install("--strict")
    assert (done.returncode, done.stderr) == (0, "")
    assert head.files() == before | set(OURS)
    for there, source in OURS.items():
        path = head.scripts / there
        assert path.read_bytes() == (ROOT / "packaging/slurm" / source).read_bytes()
        assert path.stat().st_mode & 0o777 == 0o755
    assert "daemon.notice" in head.logged.read_text()


def test_again_changes_nothing_and_brings_back_what_was_changed(head):
    head.install("--strict")
    epilog, prolog = head.scripts / "epilog.d/90-hpc-agent.sh", head.scripts / "prolog.d/10-hpc-agent.sh"
    epilog.write_text("exit 1\n")
    same = prolog.stat()
    assert "written" in head.install("--strict").stdout
    assert epilog.read_text() != "exit 1\n"
    assert (prolog.stat().st_ino, prolog.stat().st_mtime_ns) == (same.st_ino, same.st_mtime_ns)


def test_uninstalled_is_as_before(head, before):
    head.install("--strict")
    assert head.run("--uninstall", "--strict").returncode == 0
    assert head.files() == before
    assert head.run("--uninstall", "--strict").returncode == 0


def test_a_task_prolog_that_slurm_still_names_is_left(head, before):
    head.install("--strict")
    (head.slurm / "etc/custom.conf").write_text(f"TaskProlog={head.scripts}/hpc-agent-task-prolog.sh\n")
    done = head.run("--uninstall", "--strict")
    assert head.files() == before | {"hpc-agent-task-prolog.sh"}
    assert "take TaskProlog out" in done.stdout


def test_from_s3_it_takes_the_archive_that_the_nodes_take(head):
    head.program("aws", f'for to; do :; done; echo "$@" >{head.folder}/fetched; cp {head.bundle} "$to"')
    done = head.run("--bundle", "s3://my-bucket/install/b.tar.gz", "--sha256", head.sha256, "--strict")
    assert done.returncode == 0, done.stdout
    assert head.files() >= set(OURS)
    assert "s3://my-bucket/install/b.tar.gz" in (head.folder / "fetched").read_text()


def damaged(head):
    head.sha256 = "1" * 64


def empty(head):
    with tarfile.open(head.bundle, "w:gz") as tar:
        tar.add(ROOT / "LICENSE", "hpc-agent-0.1.0-x86_64/LICENSE")
    head.sha256 = ""


def absent(head):
    head.bundle.unlink()


def elsewhere(head):
    head.slurm = head.folder / "no-such"


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (damaged, "SHA-256"),
        (empty, "no scripts for Slurm"),
        (absent, "could not be fetched"),
        (elsewhere, "no head node"),
    ],
)
def test_whatever_goes_wrong_is_told_and_costs_no_head_node(head, before, wrong, said):
    wrong(head)
    done = head.install()
    assert done.returncode == 0
    assert said in done.stdout.splitlines()[-1]
    assert said in head.logged.read_text()
    if head.scripts.exists():
        assert head.files() == before
    assert head.install("--strict").returncode == 1
    assert not list(head.folder.glob("tmp.*"))


@pytest.mark.parametrize(
    "arguments", [[], ["--bundle"], ["--frob"], ["--bundle", "s3://b/k"], ["--bundle", "ftp://b/k", "--sha256", "0"]]
)
def test_wrong_arguments_are_told_and_cost_no_head_node(head, before, arguments):
    assert head.run(*arguments).returncode == 0
    assert head.run(*arguments, "--strict").returncode == 1
    assert head.files() == before


def test_a_slurm_that_does_not_look_there_is_told(head):
    (head.slurm / "etc/slurm.conf").write_text("Prolog=/site/prolog\n")
    done = head.install("--strict")
    assert done.returncode == 1
    assert "no slurm.conf" in done.stdout
