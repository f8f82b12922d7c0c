"""In which region to ask: as the settings or the environment say, else where this instance is.

Nothing sets AWS_REGION on a compute node. Another region's endpoint is no way out: a VPC endpoint answers for its own
region only, so a node without NAT would reach neither S3 nor STS.
"""

import os
import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import aioboto3

DEFAULT: Final = "us-east-1"
"""Where AWS answers for every account when nobody says where we are."""
_SECONDS: Final = 1.0
_REGION: Final = re.compile(r"[a-z]+(?:-[a-z]+)+?-[0-9]+")


async def find_region(session: "aioboto3.Session", given: str = "") -> str:
    """Return `given`, else AWS_REGION's or the profile's, else the instance's by IMDS, else DEFAULT."""
    known = given or os.environ.get("AWS_REGION") or session.region_name
    return known or await _of_instance() or DEFAULT


async def _of_instance() -> str:
    from aiobotocore.utils import AioInstanceMetadataRegionFetcher

    endpoint = os.environ.get("AWS_EC2_METADATA_SERVICE_ENDPOINT", "")
    config = {"ec2_metadata_service_endpoint": endpoint} if endpoint else {}
    fetcher = AioInstanceMetadataRegionFetcher(timeout=_SECONDS, num_attempts=2, config=config)
    return region_of_zone(await fetcher.retrieve_region() or "")


def region_of_zone(text: str) -> str:
    """Return the region in the name of a zone, without or with its letter; "" when there is none.

    botocore cuts off the last letter only: a Local Zone, `us-west-2-lax-1a`, would be a region that does not exist.
    """
    found = _REGION.match(text)
    return found[0] if found else ""
