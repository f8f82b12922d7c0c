"""The bucket: who we are to it, what the role may do in it, where it is and whose."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, Final

from agent.checkpoint.keys import full, probe_key
from agent.doctor import statement
from agent.doctor.child import UNASKED, ask
from agent.doctor.finding import Finding, Level, green, red, unknown, yellow
from agent.processes import Processes
from agent.settings import Settings
from agent.value import value

STEPS: Final = {"put": "s3 write", "get": "s3 read", "list": "s3 list", "multipart": "s3 multipart"}
WRITER, BUCKET, KMS, REGION = "writer", "bucket", "kms", "bucket region"
MULTIPART: Final = {
    "AbortMultipartUpload": "s3:AbortMultipartUpload",
    "ListParts": "s3:ListMultipartUploadParts",
}
"""The right beside s3:PutObject that a request takes."""
NAMES: Final = (WRITER, BUCKET, *STEPS.values(), KMS, REGION)

CALLER_SECONDS: Final = 4.0
PROBE_SECONDS: Final = 7.0
STARTING: Final = 1.5
"""Seconds that a child may take beyond its own limit: to start, and to say so."""
NOBODY: Final = "-"
"""The writer that stands in for one that is not known (docs/format.md)."""

Document = Mapping[str, Any]


@value
class Place:
    """The bucket as the settings name it. `region` is where this node is."""

    bucket: str
    prefix: str
    owner: str = ""
    kms_key: str = ""
    region: str = ""


async def look_at_bucket(settings: Settings, processes: Processes, *, probe_id: str, region: str) -> list[Finding]:
    """Return the findings, after real requests on a key below `<prefix>/probe/`."""
    s3 = settings.s3
    if not s3.bucket:
        return [red(BUCKET, "none is set: nothing would be saved", "set s3.bucket")]
    writer, about_writer = await _writer(settings, processes, region)
    place = Place(
        bucket=s3.bucket, prefix=s3.prefix, owner=s3.expected_bucket_owner, kms_key=s3.kms_key_id, region=region
    )
    key = full(place.prefix, probe_key(writer=writer, probe_id=probe_id))
    arguments = ["--bucket", place.bucket, "--key", key, "--list", full(place.prefix, "probe/")]
    arguments += [f"--owner={place.owner}", f"--kms={place.kms_key}"]
    said = await ask(processes, "probe", arguments, seconds=PROBE_SECONDS)
    return [about_writer, *read(said, place)]


async def _writer(settings: Settings, processes: Processes, region: str) -> tuple[str, Finding]:
    if settings.node.writer:
        return settings.node.writer, green(WRITER, f"{settings.node.writer}, by the setting node.writer")
    env = {"AWS_REGION": region} if region else {}
    seconds = CALLER_SECONDS + STARTING
    said = await ask(processes, "caller", ["--seconds", str(CALLER_SECONDS)], seconds=seconds, env=env)
    if said.get("userid"):
        return str(said["userid"]), green(WRITER, f"{said['userid']}, by STS")
    theirs = str(said.get("hint", "")) or "see the route or the VPC endpoint to STS"
    hint = f"{theirs}; or set node.writer to the role's aws:userid"
    return NOBODY, yellow(WRITER, f"STS does not say who we are: {said.get('error', 'no answer')}", hint)


def read(said: Document, place: Place) -> Iterator[Finding]:
    """Yield what the probe's document says. Pure."""
    if "error" in said:
        level = unknown if said.get("sort") == UNASKED else red
        yield level(BUCKET, str(said["error"]), str(said.get("hint", "")))
        return
    steps = said["steps"]
    bucket = _bucket(said, steps, place)
    yield bucket
    first, *others = (_step(name, steps, step, place, bucket) for step, name in STEPS.items())
    yield first
    for one in others:
        yield replace(one, hint=f"as for {first.name}") if one.hint and one.hint == first.hint else one
    if place.kms_key:
        yield _kms(steps, place)
    yield _region(str(said.get("region", "")), place)


def _bucket(said: Document, steps: Document, place: Place) -> Finding:
    """The bucket itself: reached or not, and whether it belongs to whom it should."""
    where = f"s3://{place.bucket}"
    if said.get("wrong_owner"):
        return red(BUCKET, f"{where} does not belong to {place.owner}", "correct s3.expected_bucket_owner or s3.bucket")
    silent = next((one for one in steps.values() if one and one["sort"] == "unavailable"), None)
    if silent is not None:
        return red(BUCKET, str(silent["error"]), str(silent["hint"]) or "is there a route or a VPC endpoint to S3?")
    if closed := _closed(steps, place):
        return red(BUCKET, str(closed["error"]), str(closed["hint"]))
    if all(one is None for one in steps.values()):
        checked = f"belongs to {place.owner}" if place.owner else "answers; whose it is was not checked"
        if not place.owner:
            return yellow(BUCKET, f"{where} {checked}", "set s3.expected_bucket_owner")
        return green(BUCKET, f"{where} {checked}")
    return unknown(BUCKET, f"{where} answers, and refuses some of what it was asked")


def _closed(steps: Document, place: Place) -> Document | None:
    """Return what every request met and no statement lifts: no such bucket, credentials that nobody knows."""
    failures = [failure for step, failure in steps.items() if failure and not _lifted_by(step, failure, place)]
    return failures[0] if failures and len(failures) == len(steps) else None


def _step(name: str, steps: Document, step: str, place: Place, bucket: Finding) -> Finding:
    if step not in steps:
        return unknown(name, "not tried: S3 had stopped answering")
    failure = steps[step]
    if failure is None:
        return green(name, "tried, and allowed")
    if failure["sort"] == "unavailable":
        return unknown(name, "tried, and not answered")
    if bucket.level is Level.RED:
        return unknown(name, "refused, as everything is: see bucket")
    hints = (_lifted_by(step, failure, place), str(failure["hint"]))
    return red(name, str(failure["error"]), "; ".join(filter(None, hints)))


def _lifted_by(step: str, failure: Document, place: Place) -> str:
    return _statement(step, str(failure["error"]), place) if failure["sort"] == "denied" else ""


def _statement(step: str, error: str, place: Place) -> str:
    """The statement that a refusal asks for; none where it is no matter of the role's."""
    if "kms:" in error or "KMS" in error:
        return statement.to_use_key(place.kms_key)
    if "AccessDenied" not in error and "Forbidden" not in error:
        return ""
    where = (place.bucket, place.prefix, place.region)
    if step == "get":
        return statement.to_read(*where)
    if step == "list":
        return statement.to_list(*where)
    return statement.to_write(
        next((right for word, right in MULTIPART.items() if word in error), "s3:PutObject"), *where
    )


def _kms(steps: Document, place: Place) -> Finding:
    """The key is used by a put (GenerateDataKey) and a get (Decrypt) of what was put."""
    refused = [one for step in ("put", "get") if (one := steps.get(step)) and "kms" in str(one["error"]).lower()]
    if refused:
        return red(KMS, f"{place.kms_key} may not be used", statement.to_use_key(place.kms_key))
    if "get" in steps and steps["put"] is None and steps["get"] is None:
        return green(KMS, f"{place.kms_key} encrypts and decrypts")
    return unknown(KMS, "not tried: nothing could be written")


def _region(region: str, place: Place) -> Finding:
    if not region or not place.region:
        return unknown(REGION, "S3 did not tell" if place.region else "where this node is, is not known")
    if region == place.region:
        return green(REGION, f"{region}, as this node")
    hint = "a bucket in the node's region is faster, and its traffic costs nothing"
    return yellow(REGION, f"{region}, and this node is in {place.region}", hint)
