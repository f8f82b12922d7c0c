"""The same tests on the store in memory, on one behind each decorator, and on a real S3 server."""

import pytest

from agent.aws.session import open_store
from agent.store.counted import Counted
from agent.store.limited import Limited
from agent.store.memory import MemoryStore
from tests.fakes.s3server import REGION


@pytest.fixture(params=["memory", "counted", "limited", pytest.param("s3", marks=pytest.mark.s3)])
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
    async with open_store(bucket=await server.make_bucket(), region=REGION) as opened:
        yield opened
