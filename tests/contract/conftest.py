"""The same tests on the store in memory, on one behind each decorator, and on a real S3 server over either client."""

import pytest

from agent.aws.library import open_with_library
from agent.aws.wire.opening import open_wire
from agent.store.counted import Counted
from agent.store.limited import Limited
from agent.store.memory import MemoryStore
from tests.fakes.s3server import REGION

REAL = {"wire": open_wire, "library": open_with_library}


@pytest.fixture(params=["memory", "counted", "limited", *(pytest.param(name, marks=pytest.mark.s3) for name in REAL)])
def store_kind(request):
    return request.param


@pytest.fixture
async def store(store_kind, request, monkeypatch):
    if store_kind == "memory":
        yield MemoryStore()
        return
    if store_kind == "counted":
        yield Counted(MemoryStore())
        return
    if store_kind == "limited":
        yield Limited(MemoryStore(), bytes_per_second=1e12)
        return
    server = request.getfixturevalue("s3_server")
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    how = {"region": REGION, "endpoint_url": "", "connections": 8, "patience": 20.0}
    trust = dict.fromkeys(("expected_bucket_owner", "kms_key_id", "ca_bundle"), "")
    async with REAL[store_kind](bucket=await server.make_bucket(), **how, **trust) as opened:
        yield opened
