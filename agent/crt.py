"""CRC-64/NVME as awscrt computes it, without awscrt's start.

To import awscrt is to start its TLS, which parses the trust store and collects entropy: a twentieth of a CPU second in
each process, for something that is never used here. Its library offers the functions themselves, too.
"""

import ctypes
from collections.abc import Callable
from importlib.machinery import PathFinder
from typing import Final, cast

_METH_VARARGS: Final = 1


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
    try:
        found = PathFinder.find_spec("_awscrt")
        library = ctypes.PyDLL(found.origin if found is not None else None)
        return _function(library, "aws_py_checksums_crc64nvme"), _function(
            library, "aws_py_checksums_crc64nvme_combine"
        )
    except (AttributeError, OSError):  # another awscrt, which keeps them to itself
        from awscrt import checksums

        return checksums.crc64nvme, checksums.combine_crc64nvme
