"""The end of a Capacity Block over the wire: real children ask a real moto server through tests.fakes.ec2_front."""

import asyncio
import contextlib
import itertools
import json
import os
import socket
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from agent.evacuation.phases import Phase
from agent.model.drain import Drain
from agent.notices.block import share
from agent.notices.schedule import share_of
from agent.processes import SystemProcesses
from tests.fakes.autoscaling import moto
from tests.fakes.block_stage import Stage
from tests.fakes.ec2_front import SOMEBODY, Front, launch
from tests.fakes.fast_time import play_fast
from tests.fakes.imds_time import START

HERE = Path(__file__).parents[2]
END = datetime(2026, 11, 26, 11, 30, tzinfo=UTC)
AGENTS = 20


@pytest.fixture(scope="module")
def ec2(tmp_path_factory):
    with moto(tmp_path_factory.mktemp("moto")) as endpoint:
        yield endpoint


@pytest.fixture(scope="module")
def instances(ec2):
    return launch(ec2, AGENTS)


@pytest.fixture
def front(ec2):
    front = Front(moto=ec2, end=END)
    with front.serving() as endpoint:
        front.endpoint = endpoint
        yield front


def ask(endpoint, instance, *options, environment=SOMEBODY):
    clean = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    child = subprocess.run(
        [sys.executable, "-m", "agent.aws.reservation", "--instance-id", instance, *options],
        env={**clean, **environment, "AWS_ENDPOINT_URL_EC2": endpoint},
        cwd=HERE,
        capture_output=True,
        text=True,
        timeout=40,
        check=False,
    )
    assert child.stderr == ""
    return child.returncode, json.loads(child.stdout)


def test_the_reservation_of_an_instance_is_printed_as_one_document(front, instances):
    code, said = ask(front.endpoint, instances[0])
    assert code == 0
    assert said == {
        "reservation": {
            "id": "cr-1",
            "type": "capacity-block",
            "state": "active",
            "end": "2026-11-26T11:30:00.000Z",
            "end_type": "limited",
            "instance_type": "p5.48xlarge",
        }
    }
    assert [action for _, action in front.requests] == ["DescribeInstances", "DescribeCapacityReservations"]


def test_a_reservation_that_is_known_costs_one_request(front, instances):
    code, said = ask(front.endpoint, instances[0], "--reservation", "cr-1")
    assert (code, said["reservation"]["id"]) == (0, "cr-1")
    assert [action for _, action in front.requests] == ["DescribeCapacityReservations"]


def test_an_instance_of_moto_itself_is_in_no_reservation(ec2, instances):
    assert ask(ec2, instances[0]) == (0, {"none": True})


def test_the_region_of_the_instance_goes_before_that_of_the_bucket(front, instances):
    elsewhere = {**SOMEBODY, "AWS_REGION": "us-east-1"}
    assert ask(front.endpoint, instances[0], "--region", "eu-west-1", environment=elsewhere)[0] == 0
    code, said = ask(front.endpoint, instances[0], environment=elsewhere)
    assert (code, said["sort"]) == (1, "unavailable")


def test_a_reservation_that_is_gone_is_looked_for_again_from_the_instance(front, instances):
    front.end, front.known = None, False
    assert ask(front.endpoint, instances[0], "--reservation", "cr-1") == (0, {"none": True})
    assert [action for _, action in front.requests] == ["DescribeCapacityReservations", "DescribeInstances"]


def test_p5_an_instance_that_names_a_reservation_nobody_knows_says_nothing(front, instances):
    front.known = False
    code, said = ask(front.endpoint, instances[0])
    assert (code, said["sort"]) == (1, "unavailable")


def test_p5_an_instance_that_ec2_does_not_know_says_nothing(front):
    code, said = ask(front.endpoint, "i-0fedcba9876543210")
    assert (code, said["sort"]) == (1, "unavailable")
    assert "InvalidInstanceID.NotFound" in said["error"]


@pytest.mark.parametrize(
    ("status", "error", "sort", "hint"),
    [
        (403, "UnauthorizedOperation", "denied", '"ec2:DescribeCapacityReservations"'),
        (401, "AuthFailure", "denied", "credentials"),
        (503, "RequestLimitExceeded", "throttled", "shared"),
        (503, "Unavailable", "unavailable", ""),
        (500, "InternalError", "unavailable", ""),
    ],
)
def test_what_ec2_refuses_has_a_sort_and_is_asked_once(front, instances, status, error, sort, hint):
    front.refusal = (status, error)
    code, said = ask(front.endpoint, instances[0])
    assert (code, said["sort"]) == (1, sort)
    assert error in said["error"]
    assert hint in said["hint"]
    assert len(front.requests) == 1


@pytest.mark.parametrize(
    "garbage",
    [
        b"",
        b"<html><body>proxy",
        b"<html><body>It works</body></html>",
        b'{"Reservations": []}',
        b"<DescribeInstancesResponse><reservationSet><item>",
    ],
)
def test_p5_what_is_not_ec2s_answer_says_nothing(front, instances, garbage):
    front.garbage = garbage
    code, said = ask(front.endpoint, instances[0])
    assert (code, said["sort"]) == (1, "unavailable")


def test_p5_a_date_that_is_none_says_nothing(front, instances):
    body = (
        b"<R><capacityReservationSet><item><capacityReservationId>cr-1</capacityReservationId>"
        b"<endDate>tomorrow</endDate></item></capacityReservationSet></R>"
    )
    front.garbage = body
    code, said = ask(front.endpoint, instances[0], "--reservation", "cr-1")
    assert (code, said["sort"]) == (1, "unavailable")


def test_an_ec2_that_is_not_there_is_unavailable_with_a_hint():
    code, said = ask("http://127.0.0.1:1", "i-1")
    assert (code, said["sort"]) == (1, "unavailable")
    assert "VPC endpoint" in said["hint"]


def test_an_ec2_that_does_not_answer_is_given_up_in_time():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        began = time.monotonic()
        code, said = ask(f"http://127.0.0.1:{listener.getsockname()[1]}", "i-1", "--seconds", "0.5")
    assert (code, said["sort"]) == (1, "unavailable")
    assert time.monotonic() - began < 10  # most of it starts Python


def test_without_credentials_the_hint_says_where_they_come_from(front, instances):
    nobody = {**SOMEBODY, "AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}
    code, said = ask(front.endpoint, instances[0], environment=nobody)
    assert code == 1
    assert "instance profile" in said["hint"]


class Children:
    """Real children of the agent, as many as it wants; `asked_at` is when in the loop's time each was started."""

    def __init__(self, endpoint):
        self._environment = {**SOMEBODY, "AWS_ENDPOINT_URL_EC2": endpoint, "PYTHONPATH": str(HERE)}
        self._real = SystemProcesses()
        self._running = []
        self.asked_at = {}

    async def run(self, argv, *, seconds, env=None):
        self.asked_at.setdefault(argv[4], []).append(asyncio.get_running_loop().time())
        # The child's seconds are the world's; the limit is counted by a loop that is faster.
        child = self._real.run(argv, seconds=60 * seconds, env={**self._environment, **(env or {})})
        self._running.append(asyncio.create_task(child))
        return await asyncio.shield(self._running[-1])

    async def ended(self):
        """Wait for the children whose agents are gone."""
        await asyncio.gather(*self._running)


@contextlib.asynccontextmanager
async def fleet(instances, children, *, hours):
    stages = [
        Stage(hours=hours, instance_id=instance, seed=seed, processes=children)
        for seed, instance in enumerate(instances)
    ]
    async with contextlib.AsyncExitStack() as stack:
        for stage in stages:
            await stack.enter_async_context(stage.running())
        yield stages
    await children.ended()


@pytest.mark.slow
def test_twenty_agents_far_from_the_end_ask_once_and_then_not_for_an_hour(front, instances):
    front.end = START + timedelta(hours=72)

    async def scene():
        children = Children(front.endpoint)
        async with fleet(instances, children, hours=72) as stages:
            await asyncio.sleep(400)
            return children, [stage.source.interval for stage in stages]

    children, intervals = play_fast(scene, factor=20)
    assert {len(times) for times in children.asked_at.values()} == {1}
    assert len(front.requests) == 2 * AGENTS
    assert min(intervals) > 600


@pytest.mark.slow
def test_twenty_agents_near_the_end_keep_to_their_share_of_the_request_limit(front, instances):
    """The schedule of the unit tests, confirmed by real children: 256 such nodes stay under 10 requests a second."""
    front.end = START + timedelta(hours=2)

    async def scene():
        children = Children(front.endpoint)
        async with fleet(instances, children, hours=2):
            await asyncio.sleep(700)
        return children

    children = play_fast(scene, factor=10)
    assert len(children.asked_at) == AGENTS
    gaps = [later - earlier for times in children.asked_at.values() for earlier, later in itertools.pairwise(times)]
    assert len(gaps) >= AGENTS
    assert min(gaps) >= 60
    assert len(front.requests) / 700 * 256 / AGENTS < 10


def test_the_end_is_seen_the_evacuation_comes_on_time_and_an_extension_takes_it_back(front, instances):
    """Over the wire: acted on ten minutes before K, extended after the drain, undrained and watching again."""
    front.end = START + timedelta(minutes=44)

    first = min(instances, key=share_of)  # it asks soon

    async def scene():
        async with fleet([first], Children(front.endpoint), hours=1) as (stage,):
            acts = 4 * 60 - share(first).total_seconds()
            await stage.until(acts - 20)
            assert stage.runner.state.phase is Phase.WATCHING
            await stage.until(acts + 20)
            assert stage.entered(Phase.DRAINING) == pytest.approx(acts, abs=2)
            assert stage.slurm.standing is Drain.OURS
            front.end += timedelta(days=1)
            await stage.until(acts + 300)  # 300 of these are 15 s on the clock
            return stage.runner.state.phase, stage.slurm.standing, stage.source.block.ends_at

    assert play_fast(scene, factor=20) == (Phase.WATCHING, Drain.NONE, START + timedelta(days=1, minutes=44))
