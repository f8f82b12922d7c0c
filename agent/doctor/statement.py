"""IAM statements for a person to paste, with the names of this node's bucket in them."""

import json
from collections.abc import Sequence

WRITER = "${aws:userid}"
OWN_KEYS = (
    f"data/{WRITER}/*",
    f"checkpoints/*/*/{WRITER}/*",
    f"jobs/*/*/{WRITER}/*",
    f"outcomes/*/*/{WRITER}-*",
    f"probe/{WRITER}/*",
)
"""Where a node writes (docs/format.md, "Keys")."""


def partition(region: str) -> str:
    """Return the partition of ARNs in a region."""
    starts = {"cn-": "aws-cn", "us-gov-": "aws-us-gov"}
    return next((name for start, name in starts.items() if region.startswith(start)), "aws")


def to_write(action: str, bucket: str, prefix: str, region: str) -> str:
    return _allow([action], [f"arn:{partition(region)}:s3:::{bucket}/{_below(prefix, key)}" for key in OWN_KEYS])


def to_read(bucket: str, prefix: str, region: str) -> str:
    return _allow(["s3:GetObject"], [f"arn:{partition(region)}:s3:::{bucket}/{_below(prefix, '*')}"])


def to_list(bucket: str, prefix: str, region: str) -> str:
    condition = {"StringLike": {"s3:prefix": _below(prefix, "*")}}
    return _allow(["s3:ListBucket"], [f"arn:{partition(region)}:s3:::{bucket}"], condition)


def to_use_key(key: str) -> str:
    return _allow(["kms:GenerateDataKey", "kms:Decrypt"], [key if key.startswith("arn:") else "<the key's ARN>"])


def to_ask(*actions: str) -> str:
    """The statement for questions that EC2 and Auto Scaling do not narrow to a resource."""
    return _allow(actions, ["*"])


def _below(prefix: str, key: str) -> str:
    return f"{prefix}/{key}" if prefix else key


def _allow(actions: Sequence[str], resources: Sequence[str], condition: object = None) -> str:
    statement: dict[str, object] = {"Effect": "Allow", "Action": _one(actions), "Resource": _one(resources)}
    if condition is not None:
        statement["Condition"] = condition
    return f"allow the role {json.dumps(statement)}"


def _one(values: Sequence[str]) -> object:
    return values[0] if len(values) == 1 else list(values)
