"""The region in the name of a zone."""

import pytest

from agent.aws.region import region_of_zone


@pytest.mark.parametrize(
    ("zone", "region"),
    [
        ("us-west-2", "us-west-2"),
        ("us-west-2a", "us-west-2"),
        ("us-gov-west-1a", "us-gov-west-1"),
        ("us-west-2-lax-1a", "us-west-2"),
        ("us-east-1-wl1-bos-wlz-1", "us-east-1"),
        ("cn-northwest-1b", "cn-northwest-1"),
        ("<html>", ""),
        ("", ""),
    ],
)
def test_a_region_is_found_in_every_sort_of_zone(zone, region):
    assert region_of_zone(zone) == region
