"""Makes a bucket, for the demo and the tests, as a child inside their network: `python -m agent.aws.bucket NAME`."""

import asyncio
import sys

import aioboto3

from agent.aws.errors import store_errors


async def make_bucket(name: str) -> None:
    """Make a bucket where AWS_ENDPOINT_URL_S3 says. Raises the store's errors."""
    with store_errors("make", f"s3://{name}"):
        async with aioboto3.Session().client("s3") as client:
            await client.create_bucket(Bucket=name)


if __name__ == "__main__":
    asyncio.run(make_bucket(sys.argv[1]))
