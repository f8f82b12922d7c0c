"""The user data of the launch templates, from the metadata service through a real cloud-init to the service."""

import json
import re
import shutil
import subprocess

import pytest

from tests.fakes import cloud_init
from tests.fakes.launch import NAMES, launch_data, parts
from tests.fakes.systemd_root import SystemdRoot, until
from tests.packaging.target import ROOT, Target, digest

pytestmark = [pytest.mark.cloudinit, pytest.mark.systemd]
templates = pytest.mark.parametrize("name", NAMES)

BUNDLE = "hpc-agent-0.1.0-x86_64.tar.gz"
INSTALLER = 'echo "$@" >>/var/called\n'


@pytest.fixture
def instance(tmp_path):
    with SystemdRoot.running(tmp_path / "lab", {}) as root:
        cloud_init.prepare(root)
        yield root


def text_digest(text, folder):
    file = folder / "text"
    file.write_text(text)
    return digest(file)


@templates
def test_the_cloud_config_is_what_cloud_init_knows(name, tmp_path):
    config = tmp_path / "config.yaml"
    config.write_text(parts(name).get("text/cloud-config", "#cloud-config\n{}\n"))

    checked = subprocess.run(
        ["cloud-init", "schema", "-c", config], capture_output=True, text=True, check=False, timeout=60
    )

    assert (checked.returncode, checked.stderr) == (0, "")


@pytest.mark.parametrize(
    ("name", "runs"), [pytest.param("pcs-launch-template", 1, marks=pytest.mark.slow), ("auto-scaling-group", 2)]
)
def test_cloud_init_runs_the_installer_and_again_at_the_next_boot_where_a_pool_may_have_cut_it(
    instance, tmp_path, name, runs
):
    cloud_init.bucket(instance, {"bootstrap.sh": INSTALLER})
    user_data = launch_data(name, BootstrapSha256=text_digest(INSTALLER, tmp_path))["UserData"]

    first, second = cloud_init.boot(instance, user_data), cloud_init.boot(instance, user_data)

    assert first["datasource"].startswith("DataSourceEc2")
    assert first["errors"] == second["errors"] == []
    install = "s3://my-bucket/hpc-agent/install"
    told = f"--bundle {install}/{BUNDLE} --sha256 {'0' * 64} --bucket my-bucket --config {install}/config.toml"
    assert instance.inside("/var/called").read_text().splitlines() == [told] * runs


def test_cloud_init_ends_well_where_the_installer_can_not_be_fetched(instance):
    cloud_init.program(instance, "/usr/local/bin/aws", "echo 'An error occurred (403)' >&2; exit 1")

    told = cloud_init.boot(instance, launch_data("pcs-launch-template", BootstrapSha256="0" * 64)["UserData"])

    assert told["errors"] == []
    until(
        lambda: "hpc-agent was not installed" in instance.did("journalctl", "-t", "hpc-agent-bootstrap", "-o", "cat"),
        "a line in the journal",
        seconds=10,
    )


@pytest.mark.slow
@pytest.mark.timeout(400)
@templates
def test_cloud_init_installs_the_agent_that_answers(instance, bundle, name):
    bootstrap = (ROOT / "packaging/bootstrap.sh").read_text()
    settings = 'mode = "observe"\n\n[s3]\nbucket = "my-bucket"\n'
    cloud_init.bucket(instance, {"bootstrap.sh": bootstrap, "config.toml": settings})
    shutil.copy(bundle, instance.inside(f"/var/install/{bundle.name}"))
    sums = {"BundleSha256": digest(bundle), "BootstrapSha256": digest(ROOT / "packaging/bootstrap.sh")}

    told = cloud_init.boot(instance, launch_data(name, Bundle=bundle.name, **sums)["UserData"])

    assert told["errors"] == []
    until(lambda: instance.shown("hpc-agent", "ActiveState") == "active", "active", seconds=60)
    answer = instance.run(Target.COMMAND, "status", "--json", user="nobody")
    assert json.loads(answer.stdout)["version"] == re.search(r"hpc-agent-([\d.]+)-", bundle.name)[1]
    assert instance.inside("/etc/hpc-agent/config.toml").read_text() == settings
