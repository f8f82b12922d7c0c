"""The way to S3 and the hop limit, asked of a real moto server by a real child."""

import json
import os
import subprocess
import sys
from pathlib import Path

import boto3
import pytest

from tests.fakes.autoscaling import moto
from tests.fakes.ec2_front import SOMEBODY, launch

PROJECT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory):
    with moto(tmp_path_factory.mktemp("moto")) as address:
        yield address


def asked(endpoint, instance):
    clean = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    argv = [sys.executable, "-m", "agent.aws.vpc", "--instance-id", instance, "--region", "eu-west-1"]
    environment = {**clean, **SOMEBODY, "AWS_ENDPOINT_URL_EC2": endpoint}
    done = subprocess.run(argv, env=environment, cwd=PROJECT, capture_output=True, text=True, timeout=40, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return json.loads(done.stdout)


def test_an_endpoint_is_told_with_whether_the_subnet_uses_it(endpoint):
    (instance,) = launch(endpoint, 1)
    keys = {"aws_access_key_id": "key", "aws_secret_access_key": "secret"}
    ec2 = boto3.client("ec2", endpoint_url=endpoint, region_name="eu-west-1", **keys)
    vpc = ec2.describe_instances(InstanceIds=[instance])["Reservations"][0]["Instances"][0]["VpcId"]
    made = ec2.create_vpc_endpoint(VpcId=vpc, ServiceName="com.amazonaws.eu-west-1.s3", VpcEndpointType="Gateway")
    name = made["VpcEndpoint"]["VpcEndpointId"]
    assert asked(endpoint, instance)["endpoints"] == [{"id": name, "type": "Gateway", "routed": False}]

    main = [{"Name": "vpc-id", "Values": [vpc]}, {"Name": "association.main", "Values": ["true"]}]
    table = ec2.describe_route_tables(Filters=main)["RouteTables"][0]["RouteTableId"]
    ec2.modify_vpc_endpoint(VpcEndpointId=name, AddRouteTableIds=[table])
    found = asked(endpoint, instance)
    assert found["endpoints"] == [{"id": name, "type": "Gateway", "routed": True}]
    assert set(found["options"]) == {"hop_limit", "tokens"}


def test_an_ec2_that_does_not_answer_tells_nothing_and_is_no_error():
    assert asked("http://127.0.0.1:1", "i-1") == {"options": None, "endpoints": None}
