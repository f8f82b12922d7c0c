"""The embedded IMDS is as strict as the real one: AWS's own client and a plain HTTP client say so."""

import asyncio
import json
import os
import subprocess
import sys
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

import aiohttp
import pytest
from botocore.utils import IMDSRegionProvider, InstanceMetadataFetcher, InstanceMetadataRegionFetcher

from agent.demo.imds import TOKEN_HEADER, TTL_HEADER, EmbeddedImds, Fault
from agent.demo.imds_control import ImdsControl
from agent.errors import PermanentError, TransientError

TOKEN = "/latest/api/token"
META = "/latest/meta-data"


@pytest.fixture
async def imds():
    server = EmbeddedImds()
    await server.start()
    yield server
    await server.stop()


@asynccontextmanager
async def browser(imds):
    async with aiohttp.ClientSession(imds.endpoint) as session:

        async def ask(method, path, **headers):
            async with session.request(method, path, headers=headers, allow_redirects=False) as response:
                return response.status, await response.text(), response.headers

        yield ask


async def token(ask, ttl="60"):
    return (await ask("PUT", TOKEN, **{TTL_HEADER: ttl}))[1]


@pytest.mark.parametrize("ttl", ["", "0", "-1", "21601", "ten", "1.5", "999999999999", "٣"])
async def test_a_token_needs_a_ttl_from_1_to_21600(imds, ttl):
    async with browser(imds) as ask:
        assert (await ask("PUT", TOKEN, **({TTL_HEADER: ttl} if ttl else {})))[0] == 400


@pytest.mark.parametrize("ttl", ["1", "21600"])
async def test_the_answer_says_how_long_the_token_lives(imds, ttl):
    async with browser(imds) as ask:
        status, _, headers = await ask("PUT", TOKEN, **{TTL_HEADER: ttl})
        assert (status, headers[TTL_HEADER]) == (200, ttl)


async def test_a_put_anywhere_else_or_through_a_proxy_is_forbidden(imds):
    async with browser(imds) as ask:
        assert (await ask("PUT", "/2021-03-23/api/token", **{TTL_HEADER: "60"}))[0] == 403
        assert (await ask("PUT", META, **{TTL_HEADER: "60"}))[0] == 403
        assert (await ask("PUT", TOKEN, **{TTL_HEADER: "60", "X-Forwarded-For": "10.0.0.1"}))[0] == 403
        assert (await ask("POST", TOKEN))[0] == 405


async def test_a_get_needs_a_token_that_is_alive(imds):
    async with browser(imds) as ask:
        assert (await ask("GET", META))[0] == 401
        assert (await ask("GET", META, **{TOKEN_HEADER: "guess"}))[0] == 401
        good = await token(ask, "1")
        assert (await ask("GET", META, **{TOKEN_HEADER: good, "X-Forwarded-For": "10.0.0.1"}))[0] == 200
        assert (await ask("HEAD", META, **{TOKEN_HEADER: good}))[0] == 200
        await asyncio.sleep(1.05)
        assert (await ask("GET", META, **{TOKEN_HEADER: good}))[0] == 401


async def test_directories_list_their_children_and_leaves_answer_with_a_slash_too(imds):
    async with browser(imds) as ask:
        good = {TOKEN_HEADER: await token(ask)}
        assert (await ask("GET", "/latest/", **good))[1] == "dynamic/\nmeta-data/"
        assert (await ask("GET", f"{META}/placement/", **good))[1] == "availability-zone\nregion"
        assert (await ask("GET", f"{META}/placement/region/", **good))[1] == "us-west-2"
        assert (await ask("GET", "/2021-03-23/meta-data/placement/region", **good))[1] == "us-west-2"
        assert (await ask("GET", f"{META}/spot/instance-action", **good))[0] == 404
        assert (await ask("GET", f"{META}/place", **good))[0] == 404


async def test_a_notice_appears_in_both_items_and_goes_from_both(imds):
    at = datetime(2026, 11, 23, 9, 17, tzinfo=UTC)
    async with browser(imds) as ask:
        good = {TOKEN_HEADER: await token(ask)}
        imds.interrupt("stop", at)
        _, text, headers = await ask("GET", f"{META}/spot/instance-action", **good)
        assert json.loads(text) == {"action": "stop", "time": "2026-11-23T09:17:00Z"}
        assert headers["Content-Type"].startswith("text/plain")
        assert (await ask("GET", f"{META}/spot/termination-time", **good))[1] == "2026-11-23T09:17:00Z"
        imds.withdraw()
        assert (await ask("GET", f"{META}/spot/", **good))[0] == 404


async def test_the_date_header_can_be_skewed(imds):
    async with browser(imds) as ask:
        imds.skew = -3600
        _, _, headers = await ask("GET", META)
        off = parsedate_to_datetime(headers["Date"]) - datetime.now(UTC)
        assert off.total_seconds() == pytest.approx(-3600, abs=5)


async def test_a_value_can_be_a_function(imds):
    counted = iter(range(9))
    imds.paths["meta-data/tick"] = lambda: str(next(counted))
    async with browser(imds) as ask:
        good = {TOKEN_HEADER: await token(ask)}
        assert [(await ask("GET", f"{META}/tick", **good))[1] for _ in range(2)] == ["0", "1"]


async def test_requests_are_logged_with_their_times(imds):
    async with browser(imds) as ask:
        before = asyncio.get_running_loop().time()
        await ask("GET", META)
        (asked,) = imds.log
        assert (asked.method, asked.path, asked.status) == ("GET", META, 401)
        assert before <= asked.mono <= asyncio.get_running_loop().time()


async def test_stopping_does_not_wait_for_hung_requests(imds):
    await imds.fault(Fault.HANG)
    async with browser(imds) as ask:
        asking = asyncio.create_task(ask("GET", META), name="hung")
        await asyncio.sleep(0.05)
        async with asyncio.timeout(2):
            await imds.stop()
            with pytest.raises(aiohttp.ClientConnectionError):
                await asking
    await imds.stop()


def plain_environment():
    """Botocore must not find a proxy or another metadata setting of this machine."""
    return {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}


async def test_botocore_gets_its_credentials_from_it(imds):
    imds.credentials("ASIAEXAMPLE", "secret", "session")
    fetcher = InstanceMetadataFetcher(
        timeout=2,
        num_attempts=1,
        base_url=imds.endpoint + "/",
        env=plain_environment(),
        config={"ec2_metadata_v1_disabled": True},
    )
    found = await asyncio.to_thread(fetcher.retrieve_iam_role_credentials)
    assert (found["role_name"], found["access_key"], found["secret_key"], found["token"]) == (
        "hpc-node", "ASIAEXAMPLE", "secret", "session",
    )  # fmt: skip
    assert datetime.fromisoformat(found["expiry_time"]) - datetime.now(UTC) > timedelta(hours=5)


async def test_botocore_finds_its_region_with_it(imds):
    fetcher = InstanceMetadataRegionFetcher(
        timeout=2, num_attempts=1, base_url=imds.endpoint + "/", env=plain_environment()
    )
    provider = IMDSRegionProvider(session=None, environ={}, fetcher=fetcher)
    assert await asyncio.to_thread(provider.provide) == "us-west-2"


@pytest.mark.parametrize("fault", [Fault.UNAUTHORIZED, Fault.ERROR, Fault.TRUNCATED, Fault.REFUSE])
async def test_botocore_gets_nothing_out_of_a_faulty_one(imds, fault):
    imds.credentials("ASIAEXAMPLE", "secret", "session")
    await imds.fault(fault)
    fetcher = InstanceMetadataFetcher(timeout=1, num_attempts=1, base_url=imds.endpoint + "/", env=plain_environment())
    assert await asyncio.to_thread(fetcher.retrieve_iam_role_credentials) == {}


@pytest.fixture
def process(tmp_path):
    """It runs as a process; yields its endpoint and its control."""
    path = tmp_path / "control.sock"
    command = [sys.executable, "-m", "agent.demo.imds", "--control", str(path), "--life-cycle", "on-demand"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        control = ImdsControl(path)
        control.wait(20)
        yield json.loads(child.stdout.readline())["endpoint"], control
        child.terminate()
        assert child.wait(10) == 0
        assert not path.exists()


async def test_as_a_process_it_is_driven_over_its_socket(process):
    endpoint, control = process
    async with aiohttp.ClientSession(endpoint) as session:
        async with session.put(TOKEN, headers={TTL_HEADER: "60"}) as response:
            good = {TOKEN_HEADER: await response.text()}

        async def ask(path):
            async with session.get(f"{META}/{path}", headers=good) as response:
                return response.status, await response.text()

        assert await ask("instance-life-cycle") == (200, "on-demand")
        told = await asyncio.to_thread(control.interrupt, "hibernate", datetime(2026, 11, 23, 9, 17, tzinfo=UTC))
        assert told["mono"] <= asyncio.get_running_loop().time()
        assert "hibernate" in (await ask("spot/instance-action"))[1]
        await asyncio.to_thread(control.withdraw)
        assert (await ask("spot/instance-action"))[0] == 404
        await asyncio.to_thread(control.set, "meta-data/tags/instance/a", "1")
        assert await ask("tags/instance/a") == (200, "1")
        await asyncio.to_thread(control.set, "meta-data/tags/instance/a", None)
        assert (await ask("tags/instance/a"))[0] == 404
        await asyncio.to_thread(control.credentials, "A", "B", "C")
        assert await ask("iam/security-credentials/") == (200, "hpc-node")
        await asyncio.to_thread(control.fault, "503")
        assert (await ask("instance-id"))[0] == 503
        await asyncio.to_thread(control.fault, None)
        await asyncio.to_thread(control.skew, 5)
        await asyncio.to_thread(control.forget_tokens)
        assert (await ask("instance-id"))[0] == 401
        log = await asyncio.to_thread(control.log)
        assert [entry["status"] for entry in log][-2:] == [503, 401]


def test_a_command_that_makes_no_sense_is_refused_and_the_next_one_works(process):
    _, control = process
    for wrong in (lambda: control.fault("flood"), lambda: control._do("dance"), lambda: control._do("set", path="x")):
        with pytest.raises(PermanentError):
            wrong()
    control.withdraw()


def test_a_control_socket_that_is_not_there_is_a_transient_error(tmp_path):
    with pytest.raises(TransientError):
        ImdsControl(tmp_path / "none").withdraw()
    with pytest.raises(TransientError):
        ImdsControl(tmp_path / "none").wait(0.05)
