import json
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from agent.errors import TransientError
from agent.imds import documents
from agent.imds.unavailable import Reason
from agent.model.notice import NoticeKind
from agent.notices.events import EventSource
from agent.notices.sighting import Instant, settle
from tests.fakes.imds import FakeMetadata

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
REBOOT = "scheduled-event:e-1"


def event(id_="e-1", *, hours=24.0, lasts=None, **parts):
    before = NOON + timedelta(hours=hours)
    after = {} if lasts is None else {"NotAfter": gmt(before + lasts)}
    return {"EventId": id_, "Code": "system-reboot", "NotBefore": gmt(before), "State": "active", **after, **parts}


def gmt(when):
    return format_datetime(when, usegmt=True).partition(", ")[2]


class Stage:
    """The source on an IMDS that lists `show`."""

    def __init__(self, *entries, restored=()):
        self.imds = FakeMetadata()
        self.source = EventSource(self.imds, restored=restored)
        self.show(*entries)

    def show(self, *entries):
        self.imds.paths[documents.SCHEDULED_EVENTS] = json.dumps(entries).encode()

    async def seen(self):
        return {sighting.id: sighting for sighting in await self.source.look()}

    async def notices(self, *, previous=None, hours=0.0):
        now = Instant(wall=NOON + timedelta(hours=hours), mono=1000.0 + 3600 * hours)
        return settle(previous or {}, (await self.seen()).values(), now=now)


async def test_each_event_is_a_notice_that_ends_at_its_not_before():
    seen = await Stage(event(), event("e-2", hours=48, Code="instance-retirement")).seen()
    assert seen.keys() == {REBOOT, "scheduled-event:e-2"}
    assert {one.kind for one in seen.values()} == {NoticeKind.SCHEDULED_EVENT}
    assert (seen[REBOOT].code, seen[REBOOT].ends_at) == ("system-reboot", NOON + timedelta(hours=24))


async def test_no_list_is_no_event():
    stage = Stage()
    assert await stage.seen() == {}
    stage.imds.paths.clear()
    assert await stage.seen() == {}
    stage.imds.paths[documents.SCHEDULED_EVENTS] = b""
    assert await stage.seen() == {}


@pytest.mark.parametrize("over", [{"State": "completed"}, {"State": "canceled"}, {"Description": "[Canceled] reboot"}])
async def test_an_event_that_is_over_is_withdrawn_and_of_several_entries_the_active_one_counts(over):
    stage = Stage(event())
    assert (await stage.seen()).keys() == {REBOOT}
    stage.show(event(**over))
    assert await stage.seen() == {}
    for entries in ([event(hours=1, **over), event()], [event(), event(hours=1, **over)]):
        stage.show(*entries)
        assert [one.ends_at for one in (await stage.seen()).values()] == [NOON + timedelta(hours=24)]


async def test_of_two_active_entries_with_one_id_the_earlier_counts():
    for entries in ([event(), event(hours=2)], [event(hours=2), event()]):
        assert [one.ends_at for one in (await Stage(*entries).seen()).values()] == [NOON + timedelta(hours=2)]


async def test_a_postponed_event_is_the_same_changed():
    stage = Stage(event())
    first = {notice.id: notice for notice in await stage.notices()}
    stage.show(event(hours=48))
    (moved,) = await stage.notices(previous=first)
    assert (moved.id, moved.due) == (REBOOT, 1000.0 + 48 * 3600)


async def test_an_event_may_come_until_its_not_after_also_after_a_restart():
    stage = Stage(event(lasts=timedelta(hours=2)), event("e-2"))
    notices = await stage.notices()
    assert {notice.id: notice.lasts for notice in notices} == {REBOOT: 7200, "scheduled-event:e-2": 0}
    again = Stage(event(lasts=timedelta(hours=2)), "unreadable", restored=notices)
    assert await again.notices(previous={notice.id: notice for notice in notices}, hours=25) == notices


async def test_an_event_that_was_past_when_first_seen_has_no_window_left():
    stage = Stage(event(hours=-0.5, lasts=timedelta(hours=2)))
    (first,) = await stage.notices()
    assert first.lasts == 0
    assert await stage.notices(previous={first.id: first}, hours=0.1) == {first}


@pytest.mark.parametrize(
    ("hours", "lasts", "stale"),
    [
        (-0.5, None, False),
        (-72, None, False),
        (-0.5, timedelta(hours=1), False),
        (-1.05, timedelta(hours=1), False),
        (-2, timedelta(hours=1), True),
        (-2, -timedelta(hours=1), True),
    ],
)
async def test_an_event_that_is_past_and_still_active_is_due_now_until_its_not_after(hours, lasts, stale):
    (notice,) = await Stage(event(hours=hours, lasts=lasts)).notices()
    assert (notice.due, notice.stale) == (1000.0, stale)


async def test_p5_while_an_entry_cannot_be_read_an_event_that_is_missing_stays():
    stage = Stage(event(), event("e-2"), event("e-3"))
    first = await stage.seen()
    stage.show(event(NotBefore="soon"), event("e-2"), event("e-3", State="completed"))
    assert await stage.seen() == {id_: first[id_] for id_ in (REBOOT, "scheduled-event:e-2")}
    stage.show(event("e-2"))
    assert (await stage.seen()).keys() == {"scheduled-event:e-2"}


async def test_p5_after_a_restart_an_event_that_cannot_be_read_any_more_stays():
    known = await Stage(event()).notices()
    stage = Stage(event(NotBefore="soon"), event("e-2"), restored=known)
    assert (await stage.seen()).keys() == {REBOOT, "scheduled-event:e-2"}
    again = await stage.notices(previous={notice.id: notice for notice in known}, hours=1)
    assert known < again


@pytest.mark.parametrize("reason", Reason)
async def test_p5_an_imds_that_does_not_answer_is_unknown_not_nothing(reason):
    stage = Stage(event())
    await stage.seen()
    stage.imds.broken = reason
    with pytest.raises(TransientError):
        await stage.seen()
    stage.imds.broken = None
    stage.imds.paths[documents.SCHEDULED_EVENTS] = b"<html>"
    with pytest.raises(TransientError):
        await stage.seen()
