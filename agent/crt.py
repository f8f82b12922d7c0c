"""CRC-64/NVME as awscrt computes it, without awscrt's start.

To import awscrt is to start its TLS, which parses the trust store and collects entropy: a twentieth of a CPU second in
each process, for something that is never used here. Its library offers the functions themselves, too. They are
internal: taken are those of the one version that this was tried with, which the bundle pins. Any other is imported.
"""

import ctypes
from collections.abc import Callable
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Final, cast

TRIED: Final = "0.38.1"
"""The version of awscrt whose functions take what Python gives them here: that of constraints.txt."""
_METH_VARARGS: Final = 1
_CRC64NVME: Final = "aws_py_checksums_crc64nvme"
_COMBINE: Final = "aws_py_checksums_crc64nvme_combine"


class _Method(ctypes.Structure):
    """PyMethodDef of Python's C API: has to live as long as the function that is made of it."""

    _fields_ = (
        ("name", ctypes.c_char_p),
        ("call", ctypes.c_void_p),
        ("flags", ctypes.c_int),
        ("documentation", ctypes.c_char_p),
    )


_kept: Final[list[_Method]] = []


def _function(library: ctypes.PyDLL, name: str) -> Callable[..., int]:
    """Return a function of awscrt's for Python. Raises AttributeError."""
    call = ctypes.cast(getattr(library, name), ctypes.c_void_p)
    _kept.append(_Method(name.encode(), call, _METH_VARARGS, None))
    make = ctypes.pythonapi.PyCFunction_NewEx
    make.argtypes, make.restype = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p), ctypes.py_object
    return cast("Callable[..., int]", make(ctypes.addressof(_kept[-1]), None, None))


def functions() -> tuple[Callable[..., int], Callable[..., int]]:
    """Return `crc64nvme(data, previous)` and `combine(first, second, second_length)`."""
    found = PathFinder.find_spec("_awscrt")
    if found is not None and found.origin is not None and _is_tried(Path(found.origin)):
        library = ctypes.PyDLL(found.origin)
        return _function(library, _CRC64NVME), _function(library, _COMBINE)
    from awscrt import checksums

    return checksums.crc64nvme, checksums.combine_crc64nvme


def _is_tried(library: Path) -> bool:
    return (library.parent / f"awscrt-{TRIED}.dist-info").is_dir()
