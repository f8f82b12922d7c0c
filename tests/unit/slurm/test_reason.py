from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.model.node import BootId, InstanceId
from agent.model.notice import NoticeKind
from agent.slurm.reason import Reason, boot_of, is_ours_to_lift

UNTIL = datetime(2026, 11, 23, 9, 17, tzinfo=UTC)
TEXT = "hpc-agent: spot-terminate i-0123456789abcdef0 boot=1a2b3c4d until=2026-11-23T09:17:00Z"
REASON = Reason(kind="spot-terminate", instance_id="i-0123456789abcdef0", boot="1a2b3c4d", until=UNTIL)
ME = InstanceId("i-0123456789abcdef0")
BOOT = BootId("1a2b3c4d-0000-4000-8000-000000000001")
OTHER_BOOT = BootId("99999999-0000-4000-8000-000000000001")
LATE = UNTIL + timedelta(minutes=10, seconds=1)


def lift(reason=REASON, *, instance=ME, boot=BOOT, now=UNTIL, live=False):
    return is_ours_to_lift(reason, instance_id=instance, boot_id=boot, now=now, has_live_notice=live)


def test_a_reason_is_written_and_read_as_agreed():
    assert str(REASON) == TEXT
    assert Reason.parse(TEXT) == REASON


@pytest.mark.parametrize("kind", list(NoticeKind))
def test_every_kind_of_notice_can_be_read_back(kind):
    reason = Reason(kind=kind, instance_id=ME, boot="1a2b3c4d", until=UNTIL)
    assert Reason.parse(str(reason)) == reason


def test_the_deadline_is_kept_in_utc_to_the_second():
    local = datetime(2026, 11, 23, 10, 17, 0, 999_999, tzinfo=timezone(timedelta(hours=1)))
    assert Reason(kind="spot-terminate", instance_id=ME, boot="1a2b3c4d", until=local) == REASON


def test_away_from_ec2_the_instance_is_a_dash():
    reason = Reason(kind="operator", instance_id="", boot="1a2b3c4d", until=UNTIL)
    assert " - boot=" in str(reason)
    assert Reason.parse(str(reason)) == reason


@pytest.mark.parametrize(
    "text",
    [
        "",
        "disk failed",
        "hpc-agent: broken, do not touch",
        TEXT + " ",
        TEXT + "\n",
        TEXT + "\nnow mine",
        " " + TEXT,
        TEXT.upper(),
        TEXT.replace("boot=1a2b3c4d", "boot=1a2b3c4"),
        TEXT.replace("2026-11-23T09:17:00Z", "2026-11-31T09:17:00Z"),
        TEXT.replace("2026-11-23T09:17:00Z", "2026-11-23T09:17:00"),
        TEXT.replace("2026", "٢٠٢٦"),
        TEXT.replace("2026", "0999"),
        TEXT.replace("hpc-agent:", "hpc-agent"),
    ],
)
def test_p4_nothing_else_is_taken_for_ours(text):
    assert Reason.parse(text) is None


@given(st.text())
def test_p4_no_text_makes_the_reader_fail(text):
    assert Reason.parse(text) is None or str(Reason.parse(text)) == text


@pytest.mark.parametrize("part", [{"boot": "1A2B"}, {"instance_id": "a b"}, {"kind": "Spot!"}])
def test_a_reason_that_could_not_be_read_back_is_not_made(part):
    with pytest.raises(ValueError, match="not a reason"):
        Reason(**({"kind": "operator", "instance_id": ME, "boot": "1a2b3c4d", "until": UNTIL} | part))


def test_a_boot_is_the_start_of_the_boot_id():
    assert boot_of(BOOT) == "1a2b3c4d"


def test_our_own_is_ours_to_lift_once_no_notice_stands():
    assert lift(live=False)
    assert not lift(live=True)


def test_our_own_is_kept_until_ten_minutes_past_its_deadline_when_nobody_knows():
    assert not lift(live=None)
    assert not lift(live=None, now=UNTIL + timedelta(minutes=9))
    assert lift(live=None, now=LATE)


@pytest.mark.parametrize("live", [False, None])
def test_a_predecessors_is_ours_to_lift(live):
    assert lift(instance=InstanceId("i-0fedcba9876543210"), live=live)
    assert lift(boot=OTHER_BOOT, live=live)


def test_nothing_is_lifted_under_a_live_notice():
    assert not lift(boot=OTHER_BOOT, live=True)
    assert not lift(now=LATE, live=True)


def test_an_unknown_instance_id_makes_nobody_a_predecessor():
    assert not lift(instance=InstanceId(""), live=None)
