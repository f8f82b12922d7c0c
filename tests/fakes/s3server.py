"""One real S3 server for a whole test session, and buckets on it."""

import asyncio
import itertools
import os
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from agent.demo.s3 import DemoS3

REGION = "us-east-1"


@dataclass(frozen=True, slots=True, kw_only=True)
class S3Server:
    """Where the server is and who may use it."""

    endpoint: str
    access_key: str
    secret_key: str
    _numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    @property
    def environment(self) -> dict[str, str]:
        """What a child process needs to reach it, standard variables only."""
        return {
            "AWS_ENDPOINT_URL_S3": self.endpoint,
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
            "AWS_REGION": REGION,
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def client(self, endpoint: str = ""):
        """Return an async context manager that yields a plain aioboto3 client."""
        import aioboto3  # half a second that most test runs need not spend

        session = aioboto3.Session(aws_access_key_id=self.access_key, aws_secret_access_key=self.secret_key)
        return session.client("s3", endpoint_url=endpoint or self.endpoint, region_name=REGION)

    def bucket(self) -> str:
        """Make a bucket of its own name and return the name. For code that runs no event loop."""
        return asyncio.run(self.make_bucket())

    async def make_bucket(self) -> str:
        name = f"bucket-{os.getpid()}-{next(self._numbers)}"
        async with self.client() as s3:
            await s3.create_bucket(Bucket=name)
        return name


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory) -> Iterator[S3Server]:
    with DemoS3(tmp_path_factory.mktemp("weed")) as server:
        yield S3Server(endpoint=server.endpoint, access_key=server.access_key, secret_key=server.secret_key)
