import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from agent.imds import documents
from agent.imds.unavailable import ImdsGarbage, Reason
from agent.model.notice import NoticeKind

GOLDEN = Path(__file__).parents[2] / "golden" / "imds"
HTML = (GOLDEN / "not-found.html").read_bytes()


@pytest.mark.parametrize(
    ("action", "kind"),
    [
        ("terminate", NoticeKind.SPOT_TERMINATE),
        ("stop", NoticeKind.SPOT_STOP),
        ("hibernate", NoticeKind.SPOT_HIBERNATE),
    ],
)
def test_the_bodies_of_the_ec2_user_guide_are_understood(action, kind):
    found = documents.instance_action((GOLDEN / f"instance-action-{action}.json").read_bytes())
    assert found == documents.InstanceAction(kind=kind, time=datetime(2017, 9, 18, 8, 22, tzinfo=UTC))


@pytest.mark.parametrize("action", ["evaporate", "TERMINATE", "stop-and-think"])
def test_an_unknown_action_with_a_valid_time_counts_as_terminate(action):
    body = f'{{"action":"{action}","time":"2017-09-18T08:22:00Z","new":[1]}}'.encode()
    assert documents.instance_action(body).kind is NoticeKind.SPOT_TERMINATE


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b" ",
        HTML,
        b'{"action":"terminate","ti',
        b'{"action":"terminate"}',
        b'{"time":"2017-09-18T08:22:00Z"}',
        b'{"action":"","time":"2017-09-18T08:22:00Z"}',
        b'{"action":null,"time":"2017-09-18T08:22:00Z"}',
        b'{"action":["terminate"],"time":"2017-09-18T08:22:00Z"}',
        b'{"action":"terminate","time":1505722920}',
        b'{"action":"terminate","time":"soon"}',
        b'{"action":"terminate","time":""}',
        b'{"action":"terminate","time":"2017-09-18T08:22:00"}',
        b'{"action":"terminate","time":"2017-13-18T08:22:00Z"}',
        b'{"action":"terminate","time":"0001-01-01T00:00:00+14:00"}',
        b'{"action":"terminate","time":"9999-12-31T23:59:59-14:00"}',
        b'"terminate"',
        b"null",
        b"[]",
        b"[" * 5000,
        b"\xff\xfe\x00",
        b'{"action":"\xff","time":"2017-09-18T08:22:00Z"}',
    ],
)
def test_p5_anything_else_is_garbage_and_no_notice(body):
    with pytest.raises(ImdsGarbage) as caught:
        documents.instance_action(body)
    assert caught.value.reason is Reason.GARBAGE
    assert "spot/instance-action" in str(caught.value)
    assert len(str(caught.value)) < 400


def test_termination_time_is_a_time_or_nothing():
    when = datetime(2015, 1, 5, 18, 2, tzinfo=UTC)
    body = (GOLDEN / "termination-time.txt").read_bytes()
    assert documents.termination_time(body) == when
    assert documents.termination_time(body + b"\n") == when


@pytest.mark.parametrize("body", [b"", b"none", HTML, b"2015-01-05T18:02:00", b"\xff", b"0001-01-01T00:00:00+14:00"])
def test_junk_in_termination_time_is_nothing(body):
    assert documents.termination_time(body) is None


def test_the_identity_document_of_the_ec2_user_guide_is_understood():
    identity = documents.identity_document((GOLDEN / "identity-document.json").read_bytes())
    assert identity.instance_id == "i-1234567890abcdef0"
    assert (identity.instance_type, identity.region, identity.zone) == ("t2.micro", "us-west-2", "us-west-2b")
    assert (identity.account, identity.life_cycle) == ("123456789012", "")


@pytest.mark.parametrize(
    "body",
    [
        b"{}",
        HTML,
        b'{"instanceId":""}',
        b'{"instanceId":"../../etc"}',
        b'{"instanceId":"i-1","region":"us west\\n2"}',
        b'{"instanceId":"i-1"',
    ],
)
def test_an_identity_that_could_not_be_part_of_a_key_is_garbage(body):
    with pytest.raises(ImdsGarbage):
        documents.identity_document(body)


@pytest.mark.parametrize("text", ["spot", "on-demand", "scheduled", "capacity-block", "something-new"])
def test_any_word_is_a_life_cycle(text):
    assert documents.life_cycle(f"{text}\n".encode()) == text


@pytest.mark.parametrize("body", [b"", HTML, b"two words", b"x" * 65, b"\xff"])
def test_anything_but_a_word_is_no_life_cycle(body):
    with pytest.raises(ImdsGarbage):
        documents.life_cycle(body)


def test_the_rebalance_recommendation_of_the_ec2_user_guide_is_understood():
    assert documents.rebalance((GOLDEN / "rebalance.json").read_bytes()) == datetime(2020, 11, 5, 8, 22, tzinfo=UTC)


@pytest.mark.parametrize("body", [b"", HTML, b"{}", b"[]", b'{"noticeTime":"soon"}', b'{"noticeTime":1604564520}'])
def test_p5_any_other_recommendation_is_garbage(body):
    with pytest.raises(ImdsGarbage):
        documents.rebalance(body)


def event(**parts):
    """An entry as IMDS lists it; a part that is None is left out."""
    entry = {
        "NotBefore": "21 Jan 2019 09:00:43 GMT",
        "Code": "system-reboot",
        "Description": "scheduled reboot",
        "EventId": "instance-event-1",
        "NotAfter": "21 Jan 2019 09:17:23 GMT",
        "State": "active",
    } | parts
    return {key: value for key, value in entry.items() if value is not None}


def read_events(*entries):
    return documents.scheduled_events(json.dumps(entries).encode())


def test_the_scheduled_events_of_the_ec2_user_guide_are_understood():
    found = documents.scheduled_events((GOLDEN / "scheduled-events.json").read_bytes())
    assert found.unreadable == 0
    assert found.events == (
        documents.ScheduledEvent(
            id="instance-event-0d59937288b749b32",
            code="system-reboot",
            not_before=datetime(2019, 1, 21, 9, 0, 43, tzinfo=UTC),
            not_after=datetime(2019, 1, 21, 9, 17, 23, tzinfo=UTC),
            is_over=False,
        ),
    )
    history = documents.scheduled_events((GOLDEN / "maintenance-history.json").read_bytes())
    assert [one.is_over for one in history.events] == [True, True]


@pytest.mark.parametrize("body", [b"", b" \n", b"[]", b"[ ]\n"])
def test_no_scheduled_event_is_nothing_at_all_or_an_empty_list(body):
    assert documents.scheduled_events(body) == documents.ScheduledEvents()


@pytest.mark.parametrize(
    ("text", "when"),
    [
        ("21 Jan 2019 09:00:43 GMT", datetime(2019, 1, 21, 9, 0, 43, tzinfo=UTC)),
        ("2 Jan 2006 15:04:05 GMT", datetime(2006, 1, 2, 15, 4, 5, tzinfo=UTC)),
        ("02 Oct 2026 15:04:05 UTC", datetime(2026, 10, 2, 15, 4, 5, tzinfo=UTC)),
        ("29 Feb 2028 00:00:00 GMT", datetime(2028, 2, 29, tzinfo=UTC)),
        ("2026-12-31T23:59:59Z", datetime(2026, 12, 31, 23, 59, 59, tzinfo=UTC)),
        ("2026-12-31T23:59:59.500+01:00", datetime(2026, 12, 31, 22, 59, 59, 500000, tzinfo=UTC)),
    ],
)
def test_an_event_has_its_time_in_either_of_two_formats(text, when):
    (found,) = read_events(event(NotBefore=text)).events
    assert found.not_before == when


MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


@pytest.mark.parametrize(("number", "name"), list(enumerate(MONTHS, 1)))
def test_the_months_of_an_event_are_english(number, name):
    (found,) = read_events(event(NotBefore=f"1 {name} 2026 00:00:00 GMT")).events
    assert found.not_before == datetime(2026, number, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    "parts",
    [
        {"State": "completed"},
        {"State": "canceled"},
        {"State": "Cancelled"},
        {"Description": "[Completed] scheduled reboot"},
        {"Description": "[Canceled] scheduled reboot"},
    ],
)
def test_an_event_that_was_carried_out_or_called_off_is_over(parts):
    (found,) = read_events(event(**parts)).events
    assert found.is_over


@pytest.mark.parametrize("parts", [{"State": "opted-in"}, {"State": None}, {"Description": None}, {"NotAfter": None}])
def test_an_event_that_does_not_say_it_is_over_stands(parts):
    (found,) = read_events(event(**parts, New=[1])).events
    assert not found.is_over


MALFORMED = [
    7,
    None,
    [],
    {},
    event(EventId=None),
    event(EventId="../x"),
    event(Code=None),
    event(Code="a b"),
    event(NotBefore=None),
    event(NotBefore=""),
    event(NotBefore="21 Jan 2019 09:00:43"),
    event(NotBefore="21 Jän 2019 09:00:43 GMT"),
    event(NotBefore="31 Feb 2019 09:00:43 GMT"),
    event(NotBefore="soon GMT"),
    event(NotBefore=" GMT"),
    event(NotBefore=5),
    event(NotAfter="later"),
]


@pytest.mark.parametrize("bad", MALFORMED)
def test_one_bad_entry_does_not_hide_the_others(bad):
    found = read_events(bad, event(EventId="good"))
    assert [one.id for one in found.events] == ["good"]
    assert found.unreadable == 1


@pytest.mark.parametrize("body", [HTML, b"{}", b"null", b'"active"', b"[" * 5000, b"\xff", b'[{"EventId":"x"'])
def test_p5_what_is_no_list_of_events_is_garbage(body):
    with pytest.raises(ImdsGarbage):
        documents.scheduled_events(body)


@pytest.mark.parametrize("bad", MALFORMED)
def test_p5_a_list_in_which_nothing_can_be_read_is_garbage(bad):
    with pytest.raises(ImdsGarbage) as caught:
        read_events(bad)
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize("text", ["InService", "Warmed:Stopped", "Terminated", "SomethingNew"])
def test_any_lifecycle_state_is_one(text):
    assert documents.target_state(f"{text}\n".encode()) == text


@pytest.mark.parametrize("body", [b"", HTML, b"In Service", b"x" * 65, b"\xff"])
def test_anything_but_a_word_is_no_lifecycle_state(body):
    with pytest.raises(ImdsGarbage):
        documents.target_state(body)


def test_the_tag_holds_a_time():
    when = datetime(2026, 11, 23, 11, tzinfo=UTC)
    for text in (b"2026-11-23T11:00:00Z", b"2026-11-23T12:00:00+01:00\n", b"2026-11-23T11:00:00.000Z"):
        assert documents.evacuate_by(text) == when


@pytest.mark.parametrize("body", [b"", HTML, b"now", b"2026-11-23", b"2026-11-23T11:00:00", b"\xff", b"10m"])
def test_p5_a_tag_that_holds_anything_else_is_garbage_and_says_what_it_takes(body):
    with pytest.raises(ImdsGarbage) as caught:
        documents.evacuate_by(body)
    assert "2026-11-23T11:00:00Z" in caught.value.hint
