"""What errors of EC2 mean to who asks for a reservation; over the wire: tests/integration/test_capacity_block.py."""

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError, NoCredentialsError

from agent.aws.reservation import ReservationUnknown, Sort, ec2_errors


def refused(code, status):
    said = {"Error": {"Code": code, "Message": "m"}, "ResponseMetadata": {"HTTPStatusCode": status, "RequestId": "r-1"}}
    return ClientError(said, "DescribeInstances")


@pytest.mark.parametrize(
    ("error", "sort", "hint"),
    [
        (refused("UnauthorizedOperation", 403), Sort.DENIED, "ec2:DescribeInstances"),
        (refused("OptInRequired", 401), Sort.DENIED, "ec2:DescribeInstances"),
        (refused("AuthFailure", 401), Sort.DENIED, "credentials"),
        (refused("RequestLimitExceeded", 503), Sort.THROTTLED, "shared"),
        (refused("ThrottlingException", 400), Sort.THROTTLED, "shared"),
        (refused("InternalError", 500), Sort.UNAVAILABLE, ""),
        (refused("RequestExpired", 400), Sort.UNAVAILABLE, ""),
        (refused("A code of tomorrow", 418), Sort.UNAVAILABLE, ""),
        (NoCredentialsError(), Sort.UNAVAILABLE, "instance profile"),
        (EndpointConnectionError(endpoint_url="http://e"), Sort.UNAVAILABLE, "VPC endpoint"),
        (TimeoutError(), Sort.UNAVAILABLE, "VPC endpoint"),
        (ValueError("Invalid timestamp"), Sort.UNAVAILABLE, ""),
    ],
)
def test_what_went_wrong_has_a_sort_and_what_can_be_done(error, sort, hint):
    with pytest.raises(ReservationUnknown) as raised, ec2_errors("ask"):
        raise error
    assert raised.value.sort is sort
    assert hint in raised.value.hint
    assert raised.value.detail


def test_what_ec2_said_is_in_the_detail_with_its_request_id():
    with pytest.raises(ReservationUnknown, match="UnauthorizedOperation") as raised, ec2_errors("ask"):
        raise refused("UnauthorizedOperation", 403)
    assert "request r-1" in raised.value.detail
