import asyncio
import contextlib
import itertools
from datetime import timedelta

import pytest

from agent.errors import TransientError
from agent.imds.unavailable import Reason
from agent.model.node import InstanceId
from agent.model.notice import Notice, NoticeKind
from agent.notices.block import (
    SPREAD,
    BlockUnknown,
    configured,
    make_block,
    read_answer,
    share,
    sighting_of,
)
from agent.notices.capacity_block import IDLE_INTERVAL, CapacityBlockSource
from agent.processes import ChildMissing, ChildTimedOut
from tests.fakes.block import FakeEc2
from tests.fakes.imds import FakeMetadata
from tests.fakes.imds_time import START, LoopClock, play

ME = InstanceId("i-0123456789abcdef0")
DAY = timedelta(days=1)
END = START + 3 * DAY
K = END - timedelta(minutes=30)


def metadata(life_cycle="capacity-block", instance_type="p5.48xlarge"):
    document = f'{{"instanceId":"{ME}","instanceType":"{instance_type}","region":"eu-west-1"}}'
    paths = {"dynamic/instance-identity/document": document.encode()}
    if life_cycle:
        paths["meta-data/instance-life-cycle"] = life_cycle.encode()
    return FakeMetadata(paths)


def source_of(ec2, imds=None, **parts):
    return CapacityBlockSource(
        imds or metadata(),
        processes=ec2,
        clock=LoopClock(),
        **parts,
    )


async def looked(source, seconds):
    """Look whenever the source wants it, as the watcher does; return what the last look said."""
    loop = asyncio.get_running_loop()
    end, said = loop.time() + seconds, None
    while loop.time() <= end:
        try:
            said = await source.look()
        except TransientError as error:
            said = error
        await asyncio.sleep(source.interval)
    return said


def watched(ec2, *, seconds=600, imds=None, **parts):
    async def scene():
        source = source_of(ec2, imds, **parts)
        return source, await looked(source, seconds)

    return play(scene)


def journalled(end=END, id_="capacity-block:cr-1"):
    sighting = sighting_of(make_block("cr-1", end, instance_type="p5.48xlarge"), ME)
    return Notice(
        id=id_,
        kind=sighting.kind,
        ends_at=sighting.ends_at,
        due=5000.0,
        seen_at=START,
        source="capacity-block",
    )


# What a block means


@pytest.mark.parametrize(
    ("instance_type", "minutes"),
    [
        ("p5.48xlarge", 30),
        ("trn2.48xlarge", 30),
        ("p6-b200.48xlarge", 30),
        ("", 30),
        ("trn2u.48xlarge", 60),
        ("p6e-gb200.36xlarge", 60),
        ("u-p6e-gb200x72", 60),
    ],
)
def test_instances_are_taken_half_an_hour_before_the_end_and_ultraservers_an_hour(instance_type, minutes):
    assert END - make_block("cr-1", END, instance_type=instance_type).taken_at == timedelta(minutes=minutes)


def test_all_nodes_of_a_block_go_within_15_seconds_of_each_other_each_at_a_moment_of_its_own():
    block = make_block("cr-1", END, instance_type="p5.48xlarge")
    times = [sighting_of(block, InstanceId(f"i-{n:017x}")).ends_at for n in range(256)]
    assert all(K - SPREAD < time <= K for time in times)
    per_second = [sum(second <= (K - time).total_seconds() < second + 1 for time in times) for second in range(15)]
    assert max(per_second) < 40
    assert min(per_second) > 5


def test_the_moment_of_a_node_is_the_same_at_every_look_and_survives_the_journal():
    assert share(ME) == share(ME)
    assert share(ME).microseconds % 1000 == 0


@pytest.mark.parametrize(
    ("state", "stands"),
    [
        ("active", True),
        ("payment-pending", True),
        ("expired", True),
        ("a-word-of-tomorrow", True),
        ("cancelled", False),
        ("failed", False),
        ("payment-failed", False),
    ],
)
def test_p5_a_state_that_nobody_knows_does_not_withdraw_a_block(state, stands):
    out = f'{{"reservation":{{"id":"cr-1","type":"capacity-block","state":"{state}","end":"2026-11-26T09:15:00Z"}}}}'
    assert (read_answer(out, instance_type="p5.48xlarge") is not None) is stands


def test_a_reservation_that_is_no_block_takes_no_instances():
    out = '{"reservation":{"id":"cr-1","type":"default","state":"active","end":"2026-11-26T09:15:00Z"}}'
    assert read_answer(out, instance_type="p5.48xlarge") is None


@pytest.mark.parametrize(
    "out",
    [
        "",
        "Traceback",
        "[]",
        "null",
        "{}",
        '{"none": false}',
        '{"reservation": {}}',
        '{"reservation": null}',
        '{"reservation":{"id":"cr-1","type":"capacity-block","state":"active","end":"tomorrow"}}',
        '{"reservation":{"id":"cr-1","type":"capacity-block","state":"active","end":"2026-11-26T09:15:00"}}',
    ],
)
def test_p5_what_is_no_answer_says_nothing(out):
    with pytest.raises(BlockUnknown, match="no usable answer"):
        read_answer(out, instance_type="")


def test_an_unset_end_is_no_block():
    assert configured("", instance_type="p5.48xlarge") is None


# The source


def test_the_end_of_the_block_is_shown_days_before():
    source, said = watched(FakeEc2(END))
    (sighting,) = said
    assert (sighting.id, sighting.kind) == ("capacity-block:cr-1", NoticeKind.CAPACITY_BLOCK_END)
    assert sighting.ends_at == K - share(ME)
    assert (source.block.ends_at, source.block.taken_at) == (END, K)


def test_the_first_question_waits_its_turn_and_the_later_ones_name_the_reservation():
    ec2 = FakeEc2(END)
    watched(ec2, seconds=3 * 3600)
    assert ec2.calls[0][-2:] == ["--region", "eu-west-1"]
    assert "--reservation" not in ec2.calls[0]
    assert len(ec2.calls) == 3
    assert all(call[call.index("--reservation") + 1] == "cr-1" for call in ec2.calls[1:])


def test_a_spot_node_never_asks():
    ec2 = FakeEc2(END)
    source, said = watched(ec2, imds=metadata("spot"), end="2026-11-26T09:15:00Z", seconds=DAY.total_seconds())
    assert (said, ec2.calls, source.answered, source.interval) == ((), [], True, IDLE_INTERVAL)


@pytest.mark.parametrize("life_cycle", ["on-demand", "", "interruptible-capacity-reservation"])
def test_a_node_that_is_in_no_block_asks_once(life_cycle):
    ec2 = FakeEc2(None)
    source, said = watched(ec2, imds=metadata(life_cycle), seconds=DAY.total_seconds())
    assert (said, len(ec2.calls), source.block) == ((), 1, None)


def test_a_block_is_found_whatever_imds_calls_the_life_cycle():
    _, (sighting,) = watched(FakeEc2(END), imds=metadata("on-demand"), seconds=3600)
    assert sighting.id == "capacity-block:cr-1"


def test_a_contradiction_between_imds_and_ec2_is_asked_about_again():
    ec2 = FakeEc2(None)
    watched(ec2, seconds=6 * 3600)
    assert 4 < len(ec2.calls) <= 7


def test_without_imds_nothing_is_known_and_nothing_asked():
    imds = metadata()
    imds.broken = Reason.TIMEOUT
    ec2 = FakeEc2(END)
    _, said = watched(ec2, imds=imds)
    assert isinstance(said, TransientError)
    assert not ec2.calls


def test_an_extension_moves_the_notice_and_keeps_its_id():
    async def scene():
        ec2 = FakeEc2(START + timedelta(hours=1))
        source = source_of(ec2)
        (before,) = await looked(source, 300)
        ec2.end += DAY
        (after,) = await looked(source, 70)
        return before, after

    before, after = play(scene)
    assert before.id == after.id
    assert after.ends_at - before.ends_at == DAY


def test_an_extension_that_is_not_paid_for_changes_nothing():
    async def scene():
        ec2 = FakeEc2(START + timedelta(hours=1))
        source = source_of(ec2)
        (before,) = await looked(source, 300)
        ec2.end, ec2.state = ec2.end + DAY, "payment-pending"
        (pending,) = await looked(source, 300)
        assert source.block.ends_at == START + timedelta(hours=1)
        ec2.state = "active"
        (paid,) = await looked(source, 70)
        return before, pending, paid

    before, pending, paid = play(scene)
    assert pending == before
    assert paid.ends_at - before.ends_at == DAY


@pytest.mark.parametrize("state", ["payment-pending", "active"])
def test_an_end_that_comes_earlier_is_believed_at_once(state):
    async def scene():
        ec2 = FakeEc2(START + timedelta(hours=2))
        source = source_of(ec2)
        (before,) = await looked(source, 300)
        ec2.end, ec2.state = ec2.end - timedelta(minutes=10), state
        (after,) = await looked(source, 70)
        return before, after

    before, after = play(scene)
    assert before.ends_at - after.ends_at == timedelta(minutes=10)


FAILURES = [
    {"refusal": ("throttled", "")},
    {"refusal": ("denied", "allow it")},
    {"refusal": ("unavailable", "")},
    {"raises": ChildTimedOut("run", "python", "no answer within 15 s")},
    {"raises": ChildMissing("run", "python", "No such file or directory")},
]


@pytest.mark.parametrize("failure", FAILURES)
def test_p5_what_is_known_stays_known_while_ec2_does_not_answer(failure):
    async def scene():
        ec2 = FakeEc2(START + timedelta(hours=3))
        source = source_of(ec2)
        await looked(source, 300)
        for name, value in failure.items():
            setattr(ec2, name, value)
        said = await looked(source, 3600)
        assert source.block.ends_at == START + timedelta(hours=3)
        ec2.refusal = ec2.raises = None
        back = await looked(source, 3600)
        return said, back

    said, back = play(scene)
    assert isinstance(said, TransientError)
    assert back[0].id == "capacity-block:cr-1"


@pytest.mark.parametrize("failure", FAILURES)
def test_p5_what_the_journal_knows_is_not_withdrawn_by_a_restart_without_ec2(failure):
    async def scene():
        source = source_of(FakeEc2(END, **failure), restored=[journalled()])
        before = await source.look()
        after = await looked(source, 3600)
        return before, after

    before, after = play(scene)
    assert [(s.id, s.ends_at) for s in before] == [("capacity-block:cr-1", K - share(ME))]
    assert isinstance(after, TransientError)


@pytest.mark.parametrize("failure", FAILURES)
def test_p6_a_node_that_cannot_ask_and_knows_nothing_is_not_in_trouble_and_says_why(failure):
    source, said = watched(FakeEc2(END, **failure), imds=metadata("on-demand"), seconds=3600)
    assert said == ()
    assert source.error is not None
    assert not source.answered


@pytest.mark.parametrize("life_cycle", ["capacity-block", "on-demand"])
def test_without_permission_the_configured_end_stands_in(life_cycle):
    ec2 = FakeEc2(END, refusal=("denied", "allow it"))
    source, (sighting,) = watched(ec2, imds=metadata(life_cycle), end="2026-11-26T09:15:00Z", seconds=3600)
    assert (sighting.id, sighting.ends_at) == ("capacity-block:configured", K - share(ME))
    assert source.error.hint == "allow it"


def test_what_ec2_says_goes_before_the_configured_end():
    _, (sighting,) = watched(FakeEc2(END), end="2026-11-24T00:00:00Z", seconds=3600)
    assert sighting.id == "capacity-block:cr-1"


def test_a_configured_end_that_stood_before_a_restart_stands_from_the_first_look_on():
    async def scene():
        ec2 = FakeEc2(END, refusal=("denied", ""))
        known = journalled(id_="capacity-block:configured")
        source = source_of(ec2, metadata("on-demand"), end="2026-11-26T09:15:00Z", restored=[known])
        (sighting,) = await source.look()
        assert not ec2.calls
        return sighting, known

    sighting, known = play(scene)
    assert (sighting.id, sighting.ends_at) == (known.id, known.ends_at)


def test_told_not_to_ask_only_the_configured_end_counts():
    ec2 = FakeEc2(END)
    _, (sighting,) = watched(ec2, ask=False, end="2026-11-26T09:15:00Z", seconds=DAY.total_seconds())
    assert sighting.id == "capacity-block:configured"
    assert not ec2.calls


def test_on_demand_without_permission_asks_once():
    ec2 = FakeEc2(END, refusal=("denied", ""))
    watched(ec2, imds=metadata("on-demand"), seconds=DAY.total_seconds())
    assert len(ec2.calls) == 1


def test_a_block_that_is_gone_withdraws_its_notice():
    async def scene():
        ec2 = FakeEc2(START + timedelta(hours=1))
        source = source_of(ec2)
        assert await looked(source, 300)
        ec2.end = None
        return await looked(source, 70)

    assert play(scene) == ()


def test_however_often_it_is_looked_ec2_is_asked_at_most_once_a_minute():
    async def scene():
        ec2 = FakeEc2(START + timedelta(hours=1))
        source = source_of(ec2)
        for _ in range(3600):
            await source.look()
            await asyncio.sleep(0.5)
        return ec2.asked_at

    asked = play(scene)
    assert 12 <= len(asked) <= 16
    assert min(b - a for a, b in itertools.pairwise(asked)) >= 60


def test_a_question_that_was_cancelled_has_been_asked():
    async def scene():
        ec2 = FakeEc2(END, hangs=True)
        source = source_of(ec2)
        await source.look()
        await asyncio.sleep(source.interval)
        for _ in range(2):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(1):
                    await source.look()
        return ec2.calls

    assert len(play(scene)) == 1


def test_the_questions_of_the_last_two_hours_follow_each_other_by_two_minutes():
    ec2 = FakeEc2(START + timedelta(hours=5))
    watched(ec2, seconds=4.5 * 3600)
    first = ec2.asked_at[0]
    late = [at - first for at in ec2.asked_at if at - first > 3 * 3600]
    assert max(b - a for a, b in itertools.pairwise(late)) < 125
