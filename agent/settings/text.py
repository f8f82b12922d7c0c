"""Texts that end up in keys, commands and addresses, held to the form those take."""

import re
from collections.abc import Callable
from typing import Annotated
from urllib.parse import urlsplit

from agent.clock import parse_stamp, stamp
from agent.settings.checks import After


def _like(pattern: str, expected: str) -> Callable[[str], str]:
    def check(text: str) -> str:
        if re.fullmatch(pattern, text) is None:
            raise ValueError(expected)
        return text

    return check


def _check_path(text: str) -> str:
    if not text.startswith("/") or "\0" in text or ".." in text.split("/"):
        raise ValueError('an absolute path without "..", as "/scratch"')
    return text.rstrip("/") or "/"


def _check_relative(text: str) -> str:
    if not text or text.startswith("/") or "\0" in text or ".." in text.split("/"):
        raise ValueError('a path below a directory of scratch.paths, as "docker"')
    return text.rstrip("/")


def _check_optional_path(text: str) -> str:
    return text and _check_path(text)


def _check_tree(text: str) -> str:
    path = _check_path(text)
    if path == "/":
        raise ValueError('a directory below "/", as "/scratch"')
    return path


def _check_time(text: str) -> str:
    try:
        return text and stamp(parse_stamp(text))
    except (ValueError, OverflowError) as error:
        raise ValueError('a time with its zone, as "2026-11-23T11:30:00Z"') from error


def check_listen(text: str) -> str:
    """Return `text` if it is an address and a port, or empty."""
    if text and not re.fullmatch(_PORTED, text):
        raise ValueError('an address and a port, as "[::]:9732" or "127.0.0.1:9732", or "" for none')
    return text


def check_url(text: str) -> str:
    """Return `text` if it is the address of an HTTP server, or empty."""
    try:
        address = urlsplit(text)
        usable = address.scheme in {"http", "https"} and bool(address.hostname) and address.port != 0
    except ValueError:
        usable = False
    if text and not usable:
        raise ValueError('an http:// or https:// address, as "https://s3.eu-west-1.amazonaws.com"')
    return text


_PORT = r"(?:\d{1,4}|[1-5]\d{4}|6[0-4]\d{3}|65[0-4]\d{2}|655[0-2]\d|6553[0-5])"
_PORTED = rf"(?:\[[0-9a-fA-F:.]+\]|[0-9A-Za-z.-]+):{_PORT}"

Name = Annotated[str, After(_like(r"[A-Za-z0-9._-]*", "letters, digits, dots, dashes and underscores"))]
"""A node or cluster, as a part of a key."""
Writer = Annotated[str, After(_like(r"[A-Za-z0-9:_+=,.@-]*", 'an aws:userid, as "AROAEXAMPLE:i-0123"'))]
Bucket = Annotated[
    str,
    After(_like(r"|arn:\S+|[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]", 'a bucket name without "s3://", as "my-bucket"')),
]
Prefix = Annotated[
    str,
    After(_like(r"|[\w!.*'()-]+(?:/[\w!.*'()-]+)*", 'a key prefix without "/" at its ends, as "hpc-agent"')),
]
Account = Annotated[str, After(_like(r"|\d{12}", "an AWS account id of 12 digits"))]
TreePath = Annotated[str, After(_check_tree)]
RelativePath = Annotated[str, After(_check_relative)]
FilePath = Annotated[str, After(_check_path)]
OptionalPath = Annotated[str, After(_check_optional_path)]
Time = Annotated[str, After(_check_time)]
"""RFC 3339, or empty."""
Listen = Annotated[str, After(check_listen)]
