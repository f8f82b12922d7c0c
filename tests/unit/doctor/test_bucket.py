"""What the doctor makes of what the role may do in the bucket."""

import json

import pytest

from agent.aws import probe
from agent.aws.probe import try_all
from agent.doctor.bucket import Place, look_at_bucket, read
from agent.processes import ChildMissing, ChildTimedOut
from agent.settings import load
from agent.store.base import StoreDenied, StoreUnavailable
from agent.store.memory import MemoryStore
from tests.fakes.doctor import Children, levels
from tests.fakes.flaky_store import Failure, FlakyStore

ID = "20261123T091500.123Z-1a2b3c4d"
PLACE = Place(bucket="b", prefix="p", owner="111122223333", region="eu-west-1")
WORKS = {"put": None, "get": None, "list": None, "multipart": None}
ALL_GREEN = dict.fromkeys(["bucket", "s3 write", "s3 read", "s3 list", "s3 multipart", "bucket region"], "green")
DENIED = StoreDenied("put", "s3://b/k", "PutObject: AccessDenied (HTTP 403)")
GONE = StoreUnavailable("put", "s3://b/k", "no route")


def denied(operation, message=""):
    error = StoreDenied("ask", "s3://b/k", f"{operation}: AccessDenied: {message} (HTTP 403, request r)", hint="theirs")
    return probe.told(error)


def found(steps=WORKS, *, place=PLACE, region="eu-west-1", **more):
    return {finding.name: finding for finding in read({"region": region, "steps": steps, **more}, place)}


def test_a_bucket_where_everything_works_is_green():
    assert levels(found().values()) == ALL_GREEN


@pytest.mark.parametrize(
    ("step", "operation", "name", "action", "resource"),
    [
        ("put", "PutObject", "s3 write", "s3:PutObject", "arn:aws:s3:::b/p/probe/${aws:userid}/*"),
        ("get", "GetObject", "s3 read", "s3:GetObject", "arn:aws:s3:::b/p/*"),
        ("list", "ListObjectsV2", "s3 list", "s3:ListBucket", "arn:aws:s3:::b"),
        ("multipart", "CreateMultipartUpload", "s3 multipart", "s3:PutObject", "arn:aws:s3:::b/p/data/${aws:userid}/*"),
        ("multipart", "AbortMultipartUpload", "s3 multipart", "s3:AbortMultipartUpload", "data/${aws:userid}/*"),
        ("multipart", "ListParts", "s3 multipart", "s3:ListMultipartUploadParts", "data/${aws:userid}/*"),
    ],
)
def test_a_refusal_is_red_and_names_the_statement_to_add(step, operation, name, action, resource):
    findings = found({**WORKS, step: denied(operation)})
    assert levels(findings.values()) == {**ALL_GREEN, name: "red", "bucket": "unknown"}
    statement = json.JSONDecoder().raw_decode(findings[name].hint.removeprefix("allow the role "))[0]
    assert statement["Action"] == action
    assert any(resource in one for one in [*statement["Resource"], statement["Resource"]])


def test_the_statement_has_the_partition_of_the_region():
    findings = found({**WORKS, "get": denied("GetObject")}, place=Place(bucket="b", prefix="p", region="cn-north-1"))
    assert "arn:aws-cn:s3:::b/p/*" in findings["s3 read"].hint


def test_a_key_that_may_not_be_used_is_named_with_its_own_statement():
    key = "arn:aws:kms:eu-west-1:111122223333:key/k"
    place = Place(bucket="b", prefix="p", kms_key=key, owner="1", region="eu-west-1")
    findings = found(
        {**WORKS, "put": denied("PutObject", "not authorized to perform: kms:GenerateDataKey")}, place=place
    )
    assert (findings["kms"].level, findings["s3 write"].level) == ("red", "red")
    assert key in findings["kms"].hint
    assert "kms:Decrypt" in findings["s3 write"].hint
    assert found(place=place)["kms"].level == "green"
    assert found({"put": probe.told(GONE)}, place=place)["kms"].level == "unknown"


def test_a_store_that_does_not_answer_is_red_once_and_the_rest_unknown():
    findings = found({"put": probe.told(GONE)}, region="")
    assert levels(findings.values()) == {**dict.fromkeys(ALL_GREEN, "unknown"), "bucket": "red"}


def test_a_refusal_that_no_statement_lifts_has_none():
    wrong = StoreDenied("put", "s3://b/k", "PutObject: NoSuchBucket: (HTTP 404)", hint="no such bucket")
    assert found({**WORKS, "put": probe.told(wrong)})["s3 write"].hint == "no such bucket"


def test_what_meets_every_request_and_no_statement_lifts_is_told_once_of_the_bucket():
    wrong = StoreDenied("put", "s3://b/k", "PutObject: NoSuchBucket: (HTTP 404)", hint="no such bucket")
    findings = found(dict.fromkeys(WORKS, probe.told(wrong)), region="")
    assert levels(findings.values()) == {**dict.fromkeys(ALL_GREEN, "unknown"), "bucket": "red"}
    assert findings["bucket"].hint == "no such bucket"


def test_a_statement_that_lifts_two_refusals_is_written_once():
    findings = found({**WORKS, "put": denied("PutObject"), "multipart": denied("CreateMultipartUpload")})
    assert "s3:PutObject" in findings["s3 write"].hint
    assert (findings["s3 multipart"].level, findings["s3 multipart"].hint) == ("red", "as for s3 write")


def test_a_bucket_of_somebody_else_is_red_and_no_statement_is_asked_for():
    refused = dict.fromkeys(WORKS, denied("PutObject"))
    findings = found(refused, wrong_owner=True)
    assert findings["bucket"].level == "red"
    assert "111122223333" in findings["bucket"].detail
    assert {findings[name].level for name in ("s3 write", "s3 read", "s3 list")} == {"unknown"}


def test_a_bucket_whose_owner_nobody_checks_is_yellow():
    assert found(place=Place(bucket="b", prefix="p", region="eu-west-1"))["bucket"].level == "yellow"


def test_a_bucket_far_away_is_yellow_and_one_that_does_not_say_unknown():
    assert found(region="us-east-1")["bucket region"].level == "yellow"
    assert found(region="")["bucket region"].level == "unknown"


async def test_without_a_bucket_nothing_is_asked():
    children = Children({})
    findings = await look_at_bucket(load(None, {}), children, probe_id=ID, region="eu-west-1")
    assert levels(findings) == {"bucket": "red"}
    assert children.asked == []


SETTINGS = {"HPC_AGENT_S3__BUCKET": "bkt", "HPC_AGENT_S3__EXPECTED_BUCKET_OWNER": "111122223333"}


async def test_the_probe_writes_below_the_role_that_sts_tells():
    said = {"region": "eu-west-1", "steps": WORKS}
    children = Children({"agent.aws.caller": {"userid": "AROAX:i-1"}, "agent.aws.probe": said})
    findings = await look_at_bucket(load(None, SETTINGS), children, probe_id=ID, region="eu-west-1")
    assert levels(findings) == {"writer": "green", **ALL_GREEN}
    assert f"--key hpc-agent/probe/AROAX:i-1/{ID}" in children.asked[1]
    assert "--owner=111122223333" in children.asked[1]


async def test_sts_that_does_not_answer_is_yellow_and_the_bucket_is_tried_all_the_same():
    said = {"region": "eu-west-1", "steps": WORKS}
    children = Children({"agent.aws.caller": {"error": "no route", "hint": ""}, "agent.aws.probe": said})
    findings = await look_at_bucket(load(None, SETTINGS), children, probe_id=ID, region="eu-west-1")
    assert levels(findings) == {"writer": "yellow", **ALL_GREEN}
    assert findings[0].hint == "see the route or the VPC endpoint to STS; or set node.writer to the role's aws:userid"
    assert f"/probe/-/{ID}" in children.asked[1]


@pytest.mark.parametrize(
    "answer", [ChildTimedOut("run", "probe", "no answer within 7 s"), "not JSON", {"error": "no credentials"}]
)
async def test_a_probe_that_says_nothing_is_a_red_bucket(answer):
    children = Children({"agent.aws.probe": answer})
    settings = load(None, {**SETTINGS, "HPC_AGENT_NODE__WRITER": "AROAX:i-1"})
    findings = await look_at_bucket(settings, children, probe_id=ID, region="eu-west-1")
    assert levels(findings) == {"writer": "green", "bucket": "red"}


async def test_a_user_who_may_not_start_the_probe_learns_nothing_of_the_bucket():
    children = Children({"agent.aws": ChildMissing("run", "python3 -m agent.aws.probe", "Permission denied")})
    findings = await look_at_bucket(load(None, SETTINGS), children, probe_id=ID, region="eu-west-1")
    assert levels(findings) == {"writer": "yellow", "bucket": "unknown"}


async def test_the_probe_leaves_one_object_and_no_upload():
    store = FlakyStore(MemoryStore())
    assert await try_all(store, "p/probe/w/1", "p/probe/") == WORKS
    assert store.calls[-1] == "abort p/probe/w/1-parts"
    assert [one.key async for one in store.list("p/")] == ["p/probe/w/1"]


async def test_a_refused_step_does_not_keep_the_others_from_being_tried():
    store = FlakyStore(MemoryStore(), {1: Failure(error=DENIED)})
    tried = await try_all(store, "k", "")
    assert tried["put"]["sort"] == "denied"
    assert tried == {**WORKS, "put": tried["put"]}


async def test_a_part_that_is_refused_leaves_no_upload_behind():
    store = FlakyStore(MemoryStore(), {5: Failure(error=DENIED)})
    assert (await try_all(store, "k", ""))["multipart"]["sort"] == "denied"
    assert store.calls[-2:] == ["put_part k-parts", "abort k-parts"]


async def test_a_store_that_stops_answering_is_not_asked_on():
    store = FlakyStore(MemoryStore(), {2: Failure(error=GONE)})
    tried = await try_all(store, "k", "")
    assert (list(tried), tried["get"]["sort"]) == (["put", "get"], "unavailable")
