"""What an instance gets from the launch templates: the user data, as the metadata service hands it out."""

import email
from pathlib import Path

from tests.fakes.cloudformation import Stack, load

TEMPLATES = Path(__file__).parents[2] / "packaging/cloudformation"
LAUNCH = {
    "PolicyArn": "arn:aws:iam::111122223333:policy/hpc-agent",
    "Install": "s3://my-bucket/hpc-agent/install",
    "Bundle": "hpc-agent-0.1.0-x86_64.tar.gz",
    "BundleSha256": "0" * 64,
    "BucketName": "my-bucket",
    "GroupName": "hpc-nodes",
}
NAMES = ("pcs-launch-template", "auto-scaling-group")


def stack(name, **parameters):
    return Stack(load(TEMPLATES / f"{name}.yaml"), **parameters)


def launch_data(name, **parameters):
    return stack(name, **{**LAUNCH, **parameters}).properties("LaunchTemplate")["LaunchTemplateData"]


def parts(name, **parameters):
    """Return the parts of the MIME message by their types."""
    message = email.message_from_string(launch_data(name, **parameters)["UserData"])
    assert message.get_content_type() == "multipart/mixed"
    assert not message.defects
    return {part.get_content_type(): part.get_payload() for part in message.get_payload()}
