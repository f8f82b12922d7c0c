"""What readers of stored documents share: the error that names the place, and values that are what they should be."""

import binascii
import json
from collections.abc import Mapping
from typing import Any

from agent.errors import PermanentError

BIGGEST = 2**63 - 1
_XATTR_NAME_BYTES = 255
_XATTR_BYTES = 64 << 10


class FormatInvalid(PermanentError):
    """A stored document is not what `docs/format.md` says: damaged, planted, or of a newer version."""


def document(text: bytes) -> dict[str, Any]:
    """Return the JSON object in `text`. Raises ValueError when it is none."""
    try:
        value = json.loads(text)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    if type(value) is not dict:
        raise ValueError("not a JSON object")
    return value


def number(value: object, what: str, *, least: int = 0, most: int = BIGGEST) -> int:
    """Return `value` when it is a whole number from `least` to `most`. Raises ValueError otherwise."""
    if type(value) is not int or not least <= value <= most:
        raise ValueError(f"{what} is {value!r:.60}")
    return value


def text(value: object, what: str, *, most: int = 4096) -> str:
    """Return `value` when it is a string of at most `most` characters. Raises ValueError otherwise."""
    if type(value) is not str or len(value) > most:
        raise ValueError(f"{what} is {value!r:.60}")
    return value


def flag(value: object, what: str) -> bool:
    """Return `value` when it is true or false. Raises ValueError otherwise."""
    if type(value) is not bool:
        raise ValueError(f"{what} is {value!r:.60}")
    return value


def items(value: object, what: str) -> list[Any]:
    """Return `value` when it is a list. Raises ValueError otherwise."""
    if type(value) is not list:
        raise ValueError(f"{what} is no list")
    return value


def fields(value: object, what: str) -> dict[str, Any]:
    """Return `value` when it is an object. Raises ValueError otherwise."""
    if type(value) is not dict:
        raise ValueError(f"{what} is no object")
    return value


def pack64(value: bytes) -> str:
    """Return bytes as base64."""
    return binascii.b2a_base64(value, newline=False).decode("ascii")


def unpack64(value: object, what: str) -> bytes:
    """Return what is in a base64 string. Raises ValueError when it is none."""
    return binascii.a2b_base64(text(value, what, most=BIGGEST), strict_mode=True)


def pack_xattrs(xattrs: Mapping[str, bytes]) -> dict[str, str]:
    """Return extended attributes as they are stored."""
    return {name: pack64(value) for name, value in xattrs.items()}


def unpack_xattrs(value: object) -> dict[str, bytes]:
    """Return stored extended attributes; names are as `os.listxattr` gives them. Raises ValueError for wrong ones."""
    found = {}
    for name, packed in fields(value, "xattrs").items():
        raw = name.encode("utf-8", "surrogateescape")
        if not 0 < len(raw) <= _XATTR_NAME_BYTES or b"\0" in raw:
            raise ValueError(f"an extended attribute is called {name!r:.60}")
        found[name] = unpack64(packed, name)
        if len(found[name]) > _XATTR_BYTES:
            raise ValueError(f"the extended attribute {name!r} is too long")
    return found
