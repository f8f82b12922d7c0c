"""What the bodies of IMDS say. Pure: bytes in, values out; anything that is not what belongs there is ImdsGarbage."""

import re
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Annotated, Any, Final, TypeVar

from pydantic import BaseModel, Field, TypeAdapter, ValidationError

from agent.clock import parse_stamp
from agent.imds.unavailable import ImdsGarbage
from agent.model.node import Identity, InstanceId
from agent.model.notice import NoticeKind
from agent.value import value

IDENTITY_DOCUMENT: Final = "dynamic/instance-identity/document"
LIFE_CYCLE: Final = "meta-data/instance-life-cycle"
INSTANCE_ACTION: Final = "meta-data/spot/instance-action"
TERMINATION_TIME: Final = "meta-data/spot/termination-time"
REBALANCE: Final = "meta-data/events/recommendations/rebalance"
SCHEDULED_EVENTS: Final = "meta-data/events/maintenance/scheduled"
TARGET_STATE: Final = "meta-data/autoscaling/target-lifecycle-state"
EVACUATE_BY_TAG: Final = "hpc-agent:evacuate-by"
EVACUATE_BY: Final = f"meta-data/tags/instance/{EVACUATE_BY_TAG}"

_ACTIONS: Final = {"stop": NoticeKind.SPOT_STOP, "hibernate": NoticeKind.SPOT_HIBERNATE}
_WORD: Final = re.compile(r"[A-Za-z0-9-]{1,64}")
_STATE: Final = re.compile(r"[A-Za-z:]{1,64}")
_OVER: Final = ("completed", "canceled", "cancelled")

# These words become parts of S3 keys and of drain reasons.
_Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9.-]{0,64}$")]


class _IdentityDocument(BaseModel):
    instance_id: Annotated[str, Field(alias="instanceId", pattern=r"^[A-Za-z0-9-]{1,64}$")]
    instance_type: _Name = Field(alias="instanceType", default="")
    region: _Name = ""
    zone: _Name = Field(alias="availabilityZone", default="")
    account: _Name = Field(alias="accountId", default="")


class _InstanceAction(BaseModel):
    action: Annotated[str, Field(min_length=1)]
    time: str


class _Rebalance(BaseModel):
    notice_time: str = Field(alias="noticeTime")


class _ScheduledEvent(BaseModel):
    id: Annotated[str, Field(alias="EventId", pattern=r"^[A-Za-z0-9-]{1,64}$")]
    code: Annotated[str, Field(alias="Code", pattern=r"^[A-Za-z0-9-]{1,64}$")]
    state: str = Field(alias="State", default="")
    description: str = Field(alias="Description", default="")
    not_before: str = Field(alias="NotBefore")
    not_after: str = Field(alias="NotAfter", default="")


@value
class ScheduledEvent:
    """One entry of `events/maintenance/scheduled`. `is_over` is one that was carried out or called off."""

    id: str
    code: str
    not_before: datetime
    not_after: datetime | None
    is_over: bool


@value
class ScheduledEvents:
    """The entries that can be read, and how many can't."""

    events: tuple[ScheduledEvent, ...] = ()
    unreadable: int = 0


@value
class InstanceAction:
    """What `spot/instance-action` announces."""

    kind: NoticeKind
    time: datetime


M = TypeVar("M", bound=BaseModel)
_LIST: Final = TypeAdapter(list[Any])


def identity_document(body: bytes) -> Identity:
    """Return who we are; the life cycle is not in this document."""
    document = _json(_IdentityDocument, IDENTITY_DOCUMENT, body)
    return Identity(
        instance_id=InstanceId(document.instance_id),
        instance_type=document.instance_type,
        region=document.region,
        zone=document.zone,
        account=document.account,
    )


def life_cycle(body: bytes) -> str:
    """Return the purchasing option as IMDS prints it: "spot", "on-demand" and others; AWS does not list them."""
    text = body.decode("ascii", "replace").strip()
    if not _WORD.fullmatch(text):
        raise ImdsGarbage(LIFE_CYCLE, f"not a life cycle: {text[:60]!r}")
    return text


def instance_action(body: bytes) -> InstanceAction:
    """Return the Spot notice. An action that we do not know, with a valid time, is the worst that we do know."""
    document = _json(_InstanceAction, INSTANCE_ACTION, body)
    try:
        time = _time(document.time)
    except ValueError as error:
        raise ImdsGarbage(INSTANCE_ACTION, f"not a time: {document.time[:60]!r}") from error
    return InstanceAction(kind=_ACTIONS.get(document.action, NoticeKind.SPOT_TERMINATE), time=time)


def termination_time(body: bytes) -> datetime | None:
    """Return the time, or None: this legacy item may hold something that is no time when there is no notice."""
    try:
        return _time(body.decode("ascii").strip())
    except ValueError:
        return None


def rebalance(body: bytes) -> datetime:
    """Return when EC2 recommended to move."""
    document = _json(_Rebalance, REBALANCE, body)
    try:
        return _time(document.notice_time)
    except ValueError as error:
        raise ImdsGarbage(REBALANCE, f"not a time: {document.notice_time[:60]!r}") from error


def scheduled_events(body: bytes) -> ScheduledEvents:
    """Return the events; nothing at all is no event. An entry that can't be read does not hide the others.

    It is garbage when there are entries and none can be read.
    """
    if not body.strip():
        return ScheduledEvents()
    try:
        entries = _LIST.validate_json(body)
    except ValidationError as error:
        raise ImdsGarbage(SCHEDULED_EVENTS, f"not a list: {body[:60]!r}") from error
    read = [_scheduled_event(entry) for entry in entries]
    events = tuple(event for event in read if event is not None)
    if entries and not events:
        raise ImdsGarbage(SCHEDULED_EVENTS, f"none of {len(entries)} entries can be read: {body[:60]!r}")
    return ScheduledEvents(events=events, unreadable=len(entries) - len(events))


def _scheduled_event(entry: object) -> ScheduledEvent | None:
    try:
        document = _ScheduledEvent.model_validate(entry)
        not_after = _event_time(document.not_after) if document.not_after else None
        not_before = _event_time(document.not_before)
    except ValueError:  # pydantic's is one, too
        return None
    said_over = document.description.lower().startswith(tuple(f"[{word}]" for word in _OVER))
    return ScheduledEvent(
        id=document.id,
        code=document.code.lower(),
        not_before=not_before,
        not_after=not_after,
        is_over=said_over or document.state.lower() in _OVER,
    )


def _event_time(text: str) -> datetime:
    """Read `21 Jan 2019 09:00:43 GMT`, as the EC2 User Guide prints it (the month is English whatever our locale), or
    RFC 3339, as the rest of IMDS does. Raises ValueError.
    """
    try:
        return _time(text)
    except ValueError:
        if not text.endswith((" GMT", " UTC")):
            raise
        return parsedate_to_datetime(text)


def target_state(body: bytes) -> str:
    """Return the lifecycle state that Auto Scaling moves the instance to. AWS adds new ones."""
    text = body.decode("ascii", "replace").strip()
    if not _STATE.fullmatch(text):
        raise ImdsGarbage(TARGET_STATE, f"not a lifecycle state: {text[:60]!r}")
    return text


def evacuate_by(body: bytes) -> datetime:
    """Return the time in the tag `hpc-agent:evacuate-by`."""
    try:
        return _time(body.decode("ascii").strip())
    except ValueError as error:
        hint = f"the tag {EVACUATE_BY_TAG} takes a time with its zone, as 2026-11-23T11:00:00Z"
        raise ImdsGarbage(EVACUATE_BY, f"not a time: {body[:60]!r}", hint=hint) from error


def _time(text: str) -> datetime:
    try:
        return parse_stamp(text)
    except OverflowError as error:
        raise ValueError(f"out of range: {text!r}") from error


def _json(model: type[M], subject: str, body: bytes) -> M:
    try:
        return model.model_validate_json(body)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"]))
        detail = f"{where}: {first['msg']}" if where else first["msg"]
        raise ImdsGarbage(subject, f"{detail}: {body[:60]!r}") from error
