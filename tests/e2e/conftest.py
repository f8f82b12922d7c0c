"""Real nodes with an IMDS each, one real S3 server, and the daemon as a process on a node."""

import itertools
from pathlib import Path
from types import MappingProxyType

import pytest

from agent.demo.stage import PORT, Bucket, Instance
from tests.fakes.lab import give_back
from tests.fakes.s3proxy import ProxyProcess
from tests.fakes.site import opened

NOTHING_MORE = MappingProxyType({})
NUMBERS = itertools.count(1)


@pytest.fixture(scope="session")
def bucket(cluster):
    """One S3 server for all tests, in the head's network. A test that stops it starts it again."""
    served = Bucket(cluster)
    served.start()
    served.make()
    yield served
    served.stop()


@pytest.fixture(scope="session")
def site(tmp_path_factory):
    """Four nodes with the shipped Prolog and Epilog, and a bucket."""
    with opened(tmp_path_factory.mktemp("site"), 4) as site:
        yield site


@pytest.fixture
def agents(site):
    """Makes nodes of the site instances with the agent on them: `agents("n1")`; afterwards all is as it was."""
    with site.lent() as agent:
        yield agent


@pytest.fixture
def proxy(cluster, bucket):
    """A proxy before the S3 server, in the head's network as the server is: `endpoint` for an agent, `control`."""
    name, project = "s3proxy.sock", Path(__file__).parents[2]
    head = cluster.command("head", [], cwd=str(project))
    there = {"before": head, "inside": Path("/shared", name)}
    with ProxyProcess(f"{bucket.address}:0", f"{bucket.address}:{PORT}", cluster.shared / name, **there) as process:
        yield process


@pytest.fixture
def instance(cluster, bucket):
    """Makes a node an EC2 instance with the agent on it; afterwards the node is as it was.

    Each has an instance id of its own, so that no test sees what another has stored. `run=False`: with an IMDS and
    settings, but the daemon is the test's to start.
    """
    made = []

    def start(name="n1", *, instance_id="", settings="", endpoint="", environment=NOTHING_MORE, run=True):
        instance_id = instance_id or f"i-{next(NUMBERS):017x}"
        one = Instance(
            cluster,
            name,
            instance_id=instance_id,
            bucket=bucket,
            endpoint=endpoint,
            settings=settings,
            environment=environment,
        )
        made.append(one)
        one.start_imds()
        one.configure()
        if run:
            one.start_agent()
        return one

    yield start
    for one in made:
        one.end()
    for name in sorted({one.name for one in made}):
        give_back(cluster, name)
