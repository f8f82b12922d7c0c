"""The instance metadata service, who it says we are, and how far our clock is from its."""

from collections.abc import Awaitable, Callable
from typing import Final

from agent.doctor.finding import Finding, green, red, unknown, yellow
from agent.doctor.http import NoAnswer
from agent.errors import AgentError
from agent.imds.identity import identify
from agent.imds.metadata import Metadata
from agent.model.node import Identity

NAMES: Final = ("imds", "identity")
IMDS, IDENTITY = NAMES
CLOCK: Final = "clock"

SKEW_SEEN: Final = 5.0
"""Seconds: `Date` has whole seconds, so less says little."""
SKEW_HARMS: Final = 30.0
"""Seconds: a quarter of a Spot window. S3 itself refuses requests that are 15 minutes off."""


async def look_at_imds(
    imds: Metadata, without_token: Callable[[], Awaitable[int]]
) -> tuple[list[Finding], Identity | None]:
    """Return the findings and who we are; `without_token` is the status of a question of IMDSv1."""
    try:
        identity = await identify(imds)
    except AgentError as error:
        said = f"no answer of IMDSv2 ({error.detail}): no notice would be seen"
        return [red(IMDS, said, error.hint), unknown(IDENTITY, "IMDS did not tell")], None
    words = (identity.instance_id, identity.instance_type, identity.zone, identity.life_cycle)
    return [await _version(without_token), green(IDENTITY, "  ".join(filter(None, words)))], identity


async def _version(without_token: Callable[[], Awaitable[int]]) -> Finding:
    try:
        status = await without_token()
    except NoAnswer:
        status = 401
    if status == 200:
        hint = "HttpTokens=required keeps programs that can be tricked into a request from the role's credentials"
        return yellow(IMDS, "IMDSv2 answers, and so does IMDSv1", hint)
    return green(IMDS, "IMDSv2 answers, IMDSv1 is off")


def look_at_clock(skew: float | None) -> Finding:
    """`skew` is how many seconds IMDS is ahead of our clock, None when it did not tell."""
    if skew is None:
        return unknown(CLOCK, "IMDS did not tell the time", "chronyc tracking")
    said = f"{abs(skew):.0f} s {'behind' if skew > 0 else 'ahead of'} that of IMDS"
    if abs(skew) < SKEW_SEEN:
        return green(CLOCK, "agrees with that of IMDS")
    return (red if abs(skew) >= SKEW_HARMS else yellow)(CLOCK, said, "is chronyd running? chronyc tracking")
