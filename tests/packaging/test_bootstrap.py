"""bootstrap.sh on a machine without network, as root, with its output on pipes: ParallelCluster's way."""

import re
import subprocess
import time

import pytest

from tests.fakes.systemd_root import until
from tests.packaging.target import ROOT

pytestmark = [pytest.mark.systemd, pytest.mark.timeout(400)]  # the first makes the bundle

WITHOUT_SYSTEMCTL = (
    *("unshare", "--mount", "sh", "-c"),
    'for at in /bin /usr/bin; do mount --bind /dev/null $at/systemctl; done; exec "$@"',
    "sh",
)
WITHOUT_SYSTEMD = ("unshare", "--mount", "sh", "-c", 'mount -t tmpfs none /run/systemd; exec "$@"', "sh")


def test_it_installs_twice_the_service_runs_and_an_uninstall_leaves_nothing(target):
    first = target.install("--mode", "observe")
    until(target.is_active, "active", seconds=30)
    pid = target.service("MainPID")

    assert (first.returncode, first.stdout) == (0, "hpc-agent bootstrap: version 0.1.0 is in place\n")
    until(lambda: "version 0.1.0 is in place" in target.journal(), "a line in the journal", seconds=30)
    until(lambda: target.status().returncode == 0, "a status for any user", seconds=30)
    assert target.root.did("systemctl", "is-enabled", "hpc-agent") == "enabled\n"
    epilog = target.root.inside("/opt/hpc-agent/0.1.0/share/hpc-agent/slurm/epilog.d/90-hpc-agent.sh")
    assert epilog.stat().st_mode & 0o777 == 0o755
    assert re.search(r'(?m)^bucket = "my-bucket"$', target.root.inside("/etc/hpc-agent/config.toml").read_text())

    second = target.install()

    assert (second.returncode, second.stdout) == (0, first.stdout)
    assert "is here already" in target.log()
    assert target.service("MainPID") == pid

    refused = target.install("--config", "/etc/hostname")

    assert refused.returncode == 0
    assert "NOT DONE: the settings" in refused.stderr
    assert target.service("MainPID") == pid
    assert 'mode = "observe"' in target.root.inside("/etc/hpc-agent/config.toml").read_text()

    refused = target.bootstrap("--use", "9.9.9")

    assert "NOT DONE: version 9.9.9 is not in /opt/hpc-agent" in refused.stderr
    assert target.is_active()

    target.root.did("rm", "/etc/systemd/system/multi-user.target.wants/hpc-agent.service")
    refused = target.install(before=WITHOUT_SYSTEMD)

    assert refused.returncode == 0
    assert "systemd is not running here: it starts with the next boot" in refused.stderr
    assert target.root.did("systemctl", "is-enabled", "hpc-agent") == "enabled\n"

    refused = target.install(before=WITHOUT_SYSTEMCTL)

    assert refused.returncode == 0
    assert "version 0.1.0 is in place, but there is no systemd to run it" in refused.stderr

    removed = target.bootstrap("--uninstall")

    assert (removed.returncode, removed.stdout) == (0, "hpc-agent bootstrap: removed\n")
    assert not target.is_active()
    assert target.left() == []
    assert not target.root.inside(target.LOG).exists()


@pytest.mark.parametrize(("was", "is_now"), [(0o600, 0o600), (None, 0o644)], ids=["kept", "new"])
def test_a_file_that_only_root_may_read_stays_so_when_it_is_written_anew_p8(tmp_path, was, is_now):
    there, fresh = tmp_path / "environment", tmp_path / "fresh"
    if was is not None:
        there.write_text("AWS_SECRET_ACCESS_KEY=secret\n")
        there.chmod(was)
    fresh.write_text("PCS_CLUSTER_ID=pcs_1\n")
    place = re.search(r"(?ms)^place\(\) .*?^}", (ROOT / "packaging/bootstrap.sh").read_text())
    subprocess.run(["sh", "-euc", f'{place[0]}\nplace "$@"', "sh", fresh, there], check=True, timeout=10)
    assert there.read_text() == fresh.read_text()
    assert there.stat().st_mode & 0o777 == is_now


def refused(target, done, reason):
    """Check that it ended as a success, told why it was none, and left nothing half done."""
    assert done.returncode == 0
    assert f"NOT DONE: {reason}" in done.stderr
    until(lambda: reason in target.journal(), "a line in the journal", seconds=30)
    assert not target.is_active()
    assert set(target.left()) <= {"/opt/hpc-agent", "/run/hpc-agent-bootstrap.lock", "/run/hpc-agent-bootstrap.log"}


def test_a_bundle_with_another_sum_is_not_installed(target):
    done = target.bootstrap("--bundle", target.BUNDLE, "--sha256", "0" * 64, "--bucket", "b")

    refused(target, done, "the bundle: its SHA-256 is ")
    assert "NOT DONE: the bundle: its SHA-256 is " in target.log()
    assert target.root.did("ls", "-A", "/opt/hpc-agent") == ""


def test_a_file_that_is_no_bundle_is_not_installed(target):
    done = target.bootstrap("--bundle", "/etc/hostname", "--bucket", "b")

    refused(target, done, "the bundle can't be unpacked")


def test_a_denied_bucket_is_named_and_a_child_that_stays_behind_holds_nothing_up(target):
    denied = "sleep 100 &\necho 'fatal error: An error occurred (403) when calling HeadObject: Forbidden' >&2\nexit 1"
    with target.program("aws", denied):
        done = target.bootstrap("--bundle", "s3://bucket/b.tar.gz", "--sha256", "0" * 64, "--bucket", "b")

    refused(target, done, "the bundle: s3://bucket/b.tar.gz: fatal error: An error occurred (403)")


def test_without_network_it_gives_up_and_tells_no_secret_of_the_url(target):
    done = target.bootstrap(
        *("--bundle", "https://192.0.2.1/b.tar.gz?X-Amz-Signature=secret", "--sha256", "0" * 64, "--bucket", "b")
    )

    refused(target, done, "the bundle: https://192.0.2.1/b.tar.gz: curl: (7)")
    assert "secret" not in target.log() + done.stderr


@pytest.mark.slow
def test_a_network_that_swallows_everything_costs_less_than_a_minute(target):
    with target.silence():
        began = time.monotonic()
        done = target.bootstrap("--bundle", "https://192.0.2.1/b.tar.gz", "--sha256", "0" * 64, "--bucket", "b")

    assert time.monotonic() - began < 60
    refused(target, done, "the bundle: https://192.0.2.1/b.tar.gz: curl: (28)")


def test_a_full_disk_is_noticed_before_anything_is_fetched_and_where_the_log_is_full_too_it_is_elsewhere(target):
    with target.small("/opt/hpc-agent"), target.small("/var/log"):
        done = target.install()

    refused(target, done, "/opt/hpc-agent has 0 MiB free and needs 300")
    assert "has 0 MiB free" in target.log("/run/hpc-agent-bootstrap.log")


@pytest.mark.parametrize("python", ["", "#!/bin/sh\necho 3.9\n"], ids=["absent", "too-old"])
def test_a_machine_without_a_python_that_is_new_enough_says_so(target, python):
    with target.pythons(python), target.program("apt-get", "echo no network >&2; exit 100"):
        done = target.install()

    refused(target, done, "no Python this bundle works with (CPython 3.")
    assert "installing python3" in target.log()


def test_a_python_of_the_product_is_not_used(target):
    theirs = "/opt/parallelcluster/pyenv/versions/3.12.8/envs/node_virtualenv/bin/python"
    target.root.did("mkdir", "-p", theirs.removesuffix("/python"))
    target.root.did("cp", "/usr/bin/env", theirs)

    done = target.install("--python", theirs)

    refused(target, done, f"{theirs} is not a Python this bundle works with")


@pytest.fixture
def managers(target):
    """A bundle that works with no Python, and package managers that write down what they are asked for."""
    content = "mkdir -p /var/none/b; echo 0.0.1 >/var/none/b/VERSION; echo 'exit 1' >/var/none/b/install.sh"
    target.root.did("sh", "-c", f"{content}; tar -czf /var/none.tar.gz -C /var/none b; : >/var/asked")
    asked = 'echo "${0##*/} $*" >>/var/asked; exit 1'
    with target.program("dnf", asked), target.program("apt-get", asked):
        yield lambda: [line.split() for line in target.root.inside("/var/asked").read_text().splitlines()]


@pytest.mark.parametrize(
    ("name", "version", "manager", "package"),
    [
        ("amzn", "2023", "dnf", "python3.11"),
        ("ubuntu", "22.04", "apt-get", "python3.11"),
        ("ubuntu", "24.04", "apt-get", "python3"),
        ("rhel", "8.10", "dnf", "python3.11"),
        ("rocky", "8.10", "dnf", "python3.11"),
        ("rhel", "9.6", "dnf", "python3.11"),
        ("rocky", "9.6", "dnf", "python3.11"),
        ("debian", "12", "apt-get", "python3"),
    ],
)
def test_each_distribution_is_asked_for_a_python_that_it_has(target, managers, name, version, manager, package):
    with target.file("/etc/os-release", f'ID="{name}"\nVERSION_ID="{version}"\n'):
        done = target.bootstrap("--bundle", "/var/none.tar.gz", "--bucket", "b")

    assert done.returncode == 0
    assert {asked[0] for asked in managers()} == {manager}
    assert "install" in managers()[-1]
    assert managers()[-1][-1] == package


def test_a_distribution_that_is_not_known_is_told_and_asked_for_nothing(target, managers):
    with target.file("/etc/os-release", "ID=gentoo\nVERSION_ID=2.17\n"):
        done = target.bootstrap("--bundle", "/var/none.tar.gz", "--bucket", "b")

    assert "and none for gentoo:2.17; see --python" in done.stderr
    assert managers() == []


@pytest.mark.slow
def test_a_python_that_the_distribution_brings_is_used(target):
    bring = "cp /usr/bin/python3.11.taken /usr/bin/python3.11"
    with (
        target.file("/etc/os-release", 'ID="amzn"\nVERSION_ID="2023"\n'),
        target.pythons("#!/bin/sh\necho 3.9\n"),
        target.program("dnf", bring),
    ):
        assert target.install().stderr == ""
        assert "installing python3.11" in target.log()
        until(target.is_active, "active", seconds=30)


def test_amazon_linux_2_is_refused_with_a_clear_line(target):
    with target.file("/etc/os-release", 'ID="amzn"\nVERSION_ID="2"\n'):
        done = target.install()

    refused(target, done, "Amazon Linux 2 is at its end of life")


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ([], "give --bundle, --use or --uninstall"),
        (["--bundle"], "--bundle needs a value"),
        (["--bundel", "/x"], "unknown argument: --bundel"),
        (["--bundle", "s3://b/x"], "--bundle with a URL needs --sha256"),
        (["--bundle", "http://b/x", "--bucket", "b"], "the bundle: http://b/x is none of s3://, https://, /path"),
        (["--use", "../../tmp"], "not a version: ../../tmp"),
        (["--bundle", "/x", "--bucket", 'b"; x = "'], "not a bucket"),
    ],
)
def test_wrong_arguments_are_told_and_harm_nobody(target, arguments, reason):
    refused(target, target.bootstrap(*arguments), reason)


def test_with_strict_a_failure_is_one(target):
    assert target.bootstrap("--use", "9.9.9", "--strict").returncode == 1


def test_two_at_once_take_turns(target):
    hold = target.root.command("flock", "/run/hpc-agent-bootstrap.lock", "sh", "-c", "echo held; read x")
    with subprocess.Popen(hold, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        other.stdout.readline()
        waiting = subprocess.Popen(
            target.root.command("sh", target.BOOTSTRAP, "--use", "9.9.9"), stderr=subprocess.PIPE, text=True
        )
        with pytest.raises(subprocess.TimeoutExpired):
            waiting.wait(timeout=0.5)
        other.communicate(b"\n")
    _, said = waiting.communicate(timeout=30)

    assert "version 9.9.9 is not in" in said
