"""The cluster configuration, read by ParallelCluster's own schema; what it means is in test_cloud_definitions.py."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.packaging.target import ROOT

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

CONFIGURATION = ROOT / "packaging/parallelcluster/cluster.yaml"
PYTHON = Path(sys.prefix) / "pcluster/bin/python"
LOAD = """
import sys, yaml
from marshmallow import ValidationError
from pcluster.schemas.cluster_schema import ClusterSchema
try:
    cluster = ClusterSchema(cluster_name="hpc").load(yaml.safe_load(sys.stdin))
except ValidationError as error:
    raise SystemExit(str(error.messages))
for queue in cluster.scheduling.queues:
    print(queue.name, queue.capacity_type, queue.custom_actions.on_node_configured.script)
"""


def load(text):
    """Return what the schema of ParallelCluster makes of a configuration. Without credentials it asks nobody."""
    if not PYTHON.exists():
        pytest.fail(f"there is no {PYTHON}: make pcluster")
    return subprocess.run(
        [PYTHON, "-c", LOAD],
        input=text,
        env={"AWS_DEFAULT_REGION": "eu-west-1", "AWS_EC2_METADATA_DISABLED": "true"},
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )


def test_parallelcluster_takes_the_configuration():
    done = load(CONFIGURATION.read_text())

    assert done.returncode == 0, done.stderr
    assert [line.split()[:2] for line in done.stdout.splitlines()] == [
        ["spot", "CapacityType.SPOT"],
        ["block", "CapacityType.CAPACITY_BLOCK"],
    ]


def test_parallelcluster_refuses_one_with_a_key_that_it_does_not_know():
    done = load(CONFIGURATION.read_text().replace("OnNodeConfigured", "OnNodeConfigureD"))

    assert done.returncode == 1
    assert "Unknown field" in done.stderr
