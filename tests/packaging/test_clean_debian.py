"""A clean Debian that has Python, systemd and nothing else, and no network: from the bundle and from the deb."""

import contextlib
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fakes.systemd_root import SystemdRoot, until
from tests.packaging.conftest import make_bundle
from tests.packaging.target import ROOT, Target, digest

pytestmark = [pytest.mark.systemd, pytest.mark.slow, pytest.mark.timeout(900)]

NEXT = "0.2.0"


INCLUDED = ("systemd", "dbus", "python3")


def root_of(suite, config):
    """Return the archive of a Debian as small as it comes, with systemd and Python; it is kept for the next run."""
    kept = config.cache.mkdir("debian") / f"{suite}-{'-'.join(INCLUDED)}.tar"
    if not kept.exists():
        if not shutil.which("mmdebstrap"):
            pytest.fail("there is no mmdebstrap: apt-get install mmdebstrap")
        new = kept.with_name(f"new-{kept.name}")
        make = ["mmdebstrap", "--variant=minbase", f"--include={','.join(INCLUDED)}", suite, new]
        subprocess.run(make, check=True, capture_output=True, timeout=600)
        new.rename(kept)
    return kept


@contextlib.contextmanager
def unpacked(archive, at):
    at.mkdir()
    subprocess.run(["tar", "-xpf", archive, "-C", at, "--exclude=./dev/*"], check=True, timeout=100)
    yield at
    shutil.rmtree(at)


@pytest.fixture(scope="session")
def debian(tmp_path_factory, pytestconfig):
    with unpacked(root_of("bookworm", pytestconfig), tmp_path_factory.mktemp("debian") / "root") as root:
        yield root


@pytest.fixture(scope="session")
def python_archive(debian, tmp_path_factory):
    """A Python in an archive, as --python takes it: that of the clean Debian, moved."""
    python = tmp_path_factory.mktemp("archive") / "python"
    (python / "bin").mkdir(parents=True)
    shutil.copy(debian / "usr/bin/python3.11", python / "bin/python3")
    shutil.copytree(debian / "usr/lib/python3.11", python / "lib/python3.11", symlinks=True)
    archive = python.with_name("python.tar.gz")
    subprocess.run(["tar", "-czf", archive, "-C", python.parent, "python"], check=True, timeout=100)
    return archive


@pytest.fixture(scope="session")
def next_bundle(tmp_path_factory):
    """The bundle of the same tree with a higher version."""
    tree = tmp_path_factory.mktemp("next") / "tree"
    listed = subprocess.run(["git", "-C", ROOT, "ls-files"], check=True, capture_output=True, text=True).stdout
    for name in listed.split("\n")[:-1]:
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / name).exists():
            shutil.copy(ROOT / name, tree / name)
    version = tree / "agent/__init__.py"
    version.write_text(re.sub(r'(?<=^__version__ = ").*(?=")', NEXT, version.read_text(), flags=re.MULTILINE))
    return make_bundle(tree, tree.parent)


@pytest.fixture(scope="session")
def packages(bundle, next_bundle, tmp_path_factory):
    """Folders with the deb and the rpm of both versions."""
    made = []
    for archive in (bundle, next_bundle):
        made.append(tmp_path_factory.mktemp("packages"))
        path = f"{Path(sys.executable).parent}:/usr/bin:/bin"
        subprocess.run([ROOT / "packaging/packages.sh", archive, made[-1]], check=True, env={"PATH": path}, timeout=60)
    return made


@pytest.fixture
def clean(debian, bundle, tmp_path):
    with SystemdRoot.running(tmp_path / "lab", {}, debian) as root:
        shutil.copy(bundle, root.inside(Target.BUNDLE))
        yield Target(root)


def runs(machine, version, command=Target.COMMAND):
    """Wait until the service is up as this version and a user can ask it."""

    def answer():
        asked = machine.root.run(command, "status", "--json", user="nobody")
        return asked.returncode == 0 and json.loads(asked.stdout)["version"] == version

    until(answer, f"{version} answers", seconds=60)
    until(machine.is_active, "active", seconds=60)


def dpkg(machine, *arguments):
    done = machine.root.run("dpkg", *arguments, seconds=300)
    assert done.returncode == 0, done.stderr


@contextlib.contextmanager
def present(_machine, _archive):
    """The system has a Python that will do."""
    yield ()


@contextlib.contextmanager
def too_old(machine, archive):
    """The system's Python will not do; there is another elsewhere."""
    shutil.copy(archive, machine.root.inside("/var/python.tar.gz"))
    machine.root.did("tar", "-xzf", "/var/python.tar.gz", "-C", "/srv")
    with machine.pythons("#!/bin/sh\necho 3.9\n"):
        yield ("--python", "/srv/python/bin/python3")


@contextlib.contextmanager
def absent(machine, archive):
    """The system has no Python; there is one in the bucket."""
    shutil.copy(archive, machine.root.inside("/var/python.tar.gz"))
    with machine.pythons(""), machine.program("aws", 'for to; do :; done\ncp /var/python.tar.gz "$to"'):
        yield ("--python", "s3://my-bucket/install/python.tar.gz", "--python-sha256", digest(archive))


@pytest.mark.parametrize("python", [present, too_old, absent])
def test_bootstrap_updates_goes_back_and_leaves_nothing(clean, next_bundle, python_archive, python):
    shutil.copy(next_bundle, clean.root.inside("/var/next.tar.gz"))
    with python(clean, python_archive) as arguments:
        before = clean.files()
        update = ("--bundle", "/var/next.tar.gz", "--sha256", digest(next_bundle), "--bucket", "my-bucket", *arguments)

        assert clean.install(*arguments).stdout.endswith("version 0.1.0 is in place\n")
        runs(clean, "0.1.0")
        pid = clean.service("MainPID")
        assert clean.install(*arguments).stdout.endswith("version 0.1.0 is in place\n")
        assert clean.service("MainPID") == pid

        assert clean.bootstrap(*update, seconds=110).stdout.endswith(f"version {NEXT} is in place\n")
        runs(clean, NEXT)

        assert clean.bootstrap("--use", "0.1.0").stdout.endswith("version 0.1.0 is in place\n")
        runs(clean, "0.1.0")

        clean.wipe()
        assert not clean.is_active()
        assert clean.files() == before


def test_bootstrap_takes_the_python_of_a_newer_distribution(tmp_path, pytestconfig):
    """Debian 13 has CPython 3.13."""
    bundle = make_bundle(ROOT, tmp_path, "--python", "3.13")
    with (
        unpacked(root_of("trixie", pytestconfig), tmp_path / "trixie") as system,
        SystemdRoot.running(tmp_path / "lab", {}, system) as root,
    ):
        shutil.copy(bundle, root.inside(Target.BUNDLE))
        machine = Target(root)

        assert machine.install().stdout.endswith("version 0.1.0 is in place\n")

        runs(machine, "0.1.0")
        assert "3.13" in root.did("/opt/hpc-agent/current/bin/python", "-V")


def test_the_deb_installs_updates_keeps_the_settings_and_is_purged_without_a_trace(clean, packages):
    root, settings = clean.root, clean.root.inside("/etc/hpc-agent/config.toml")
    for number, folder in enumerate(packages):
        (deb,) = folder.glob("*.deb")
        shutil.copy(deb, root.inside(f"/var/{number}.deb"))
    before = clean.files()

    dpkg(clean, "-i", "/var/0.deb")
    runs(clean, "0.1.0", "/usr/bin/hpc-agent")
    assert root.did("systemctl", "is-enabled", "hpc-agent") == "enabled\n"
    assert "installed as a package" in clean.install().stderr
    settings.write_text('mode = "observe"\n')

    dpkg(clean, "--force-confold", "-i", "/var/1.deb")
    runs(clean, NEXT, "/usr/bin/hpc-agent")
    assert settings.read_text() == 'mode = "observe"\n'

    dpkg(clean, "-r", "hpc-agent")
    assert not clean.is_active()
    assert settings.exists()
    assert not root.inside("/opt/hpc-agent").exists()

    dpkg(clean, "-P", "hpc-agent")
    assert clean.files() == before


def test_the_deb_says_what_is_missing_where_no_python_is_new_enough(clean, packages):
    (deb,) = packages[0].glob("*.deb")
    shutil.copy(deb, clean.root.inside("/var/0.deb"))
    with clean.pythons("#!/bin/sh\necho 3.9\n"):
        refused = clean.root.run("dpkg", "-i", "/var/0.deb", seconds=120)

    assert refused.returncode != 0
    assert "no Python this bundle works with" in refused.stderr


def test_the_rpm_holds_what_the_deb_holds(packages, tmp_path):
    (rpm,), (deb,) = packages[0].glob("*.rpm"), packages[0].glob("*.deb")
    if not shutil.which("rpm"):
        pytest.fail("there is no rpm: apt-get install rpm")
    subprocess.run(["dpkg-deb", "-x", deb, tmp_path / "deb"], check=True)
    install = ["rpm", "--root", tmp_path / "rpm", "-i", "--nodeps", "--noscripts", "--ignoreos", "--ignorearch", rpm]
    subprocess.run(install, check=True, capture_output=True)

    assert _files(tmp_path / "rpm") == _files(tmp_path / "deb")
    asked = subprocess.run(
        ["rpm", "-qp", "--requires", "--configfiles", rpm], capture_output=True, text=True, check=True
    )
    assert "(python3 >= 3.11 or python3.13 or python3.12 or python3.11)" in asked.stdout
    assert "/etc/hpc-agent/config.toml" in asked.stdout


def test_the_rpm_installs_updates_keeps_the_settings_and_goes_by_its_own_scripts(target, packages):
    """On Debian: rpm runs the scripts and asks nobody for what the package needs."""
    root, settings = target.root, target.root.inside("/etc/hpc-agent/config.toml")
    for number, folder in enumerate(packages):
        (rpm,) = folder.glob("*.rpm")
        shutil.copy(rpm, root.inside(f"/var/{number}.rpm"))

    def rpm(*arguments):
        done = root.run("rpm", "--nodeps", *arguments, seconds=300)
        assert done.returncode == 0, done.stderr

    rpm("-i", "/var/0.rpm")
    runs(target, "0.1.0", "/usr/bin/hpc-agent")
    assert root.did("systemctl", "is-enabled", "hpc-agent") == "enabled\n"
    settings.write_text('mode = "observe"\n')

    rpm("-U", "/var/1.rpm")
    runs(target, NEXT, "/usr/bin/hpc-agent")
    assert settings.read_text() == 'mode = "observe"\n'

    rpm("-e", "hpc-agent")
    assert not target.is_active()
    assert not root.inside("/opt/hpc-agent").exists()
    assert not root.inside("/usr/lib/hpc-agent").exists()


def _files(root):
    found = (path for path in root.rglob("*") if path.is_symlink() or path.is_file())
    names = {str(path.relative_to(root)) for path in found}
    return {name for name in names if not name.startswith(("var/", "root/"))}  # rpm's own
