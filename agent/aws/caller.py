"""Who we are to AWS: the caller's `aws:userid`, asked of STS by a child process that prints one JSON document.

    python -m agent.aws.caller      {"userid": "AROAEXAMPLE:i-0123"}                   exit 0
                                    {"error": "...", "hint": "..."}                    exit 1

A child because botocore costs memory that the control process does not have to give for one question.
"""

import argparse
import asyncio
import json
import sys

import aioboto3
from aiobotocore.config import AioConfig

from agent.aws.errors import store_errors
from agent.aws.region import find_region
from agent.errors import AgentError

_SECONDS = 5.0


async def caller_userid(timeout: float = _SECONDS) -> str:  # noqa: ASYNC109 - the bound of the whole question
    """Return the caller's user id as IAM policies see it in `${aws:userid}`: `AROA...:i-...` on an instance.

    Raises StoreUnavailable after `timeout` seconds, without credentials or without an answer; StoreDenied.
    """
    session = aioboto3.Session()
    config = AioConfig(connect_timeout=2, read_timeout=timeout, retries={"total_max_attempts": 2, "mode": "standard"})
    with store_errors("ask", "STS for the caller's identity"):
        async with asyncio.timeout(timeout):
            region = await find_region(session)
            async with session.client("sts", region_name=region, config=config) as sts:
                said = await sts.get_caller_identity()
    return str(said["UserId"])


def main() -> int:
    options = argparse.ArgumentParser(prog="python -m agent.aws.caller")
    options.add_argument("--seconds", type=float, default=_SECONDS)
    try:
        document = {"userid": asyncio.run(caller_userid(options.parse_args().seconds))}
    except AgentError as error:
        document = {"error": f"{error.op} {error.subject}: {error.detail}", "hint": error.hint}
    sys.stdout.write(json.dumps(document) + "\n")
    return 0 if "userid" in document else 1


if __name__ == "__main__":
    raise SystemExit(main())
