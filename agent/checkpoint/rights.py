"""Threads that touch the file system with the rights of a user, in a process that is root.

The kernel checks a thread's accesses against its file system ids (setfsuid(2)), and gives up the capabilities over
files with them: what such a thread makes is the user's, and it can go nowhere that the user could not. Linux keeps
these ids for each thread; glibc's setgroups() would change all of them, so the system call is made directly.
"""

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from agent.errors import PermanentError
from agent.value import value

_SETGROUPS: Final = {"x86_64": 116, "aarch64": 159}
_ANY: Final = 0xFFFFFFFF
"""No id: asks for the one that stands."""

_libc = ctypes.CDLL(None, use_errno=True)


class RightsRefused(PermanentError):
    """This process can't take the rights of another user: it is not root."""


@value
class Rights:
    """A user, with the main group and all groups."""

    uid: int
    gid: int
    gids: frozenset[int]

    def take(self) -> None:
        """Give these rights, for files, to the thread that calls. Raises RightsRefused."""
        groups = sorted(self.gids | {self.gid})
        machine = os.uname().machine
        number = _SETGROUPS.get(machine)
        if number is None:
            raise RightsRefused("take", f"the rights of uid {self.uid}", f"not known how on {machine}")
        if _libc.syscall(number, len(groups), (ctypes.c_uint32 * len(groups))(*groups)) != 0:
            raise RightsRefused("take", f"the groups of uid {self.uid}", os.strerror(ctypes.get_errno()))
        _set_ids(self.uid, self.gid)

    @contextmanager
    def as_root(self) -> Iterator[None]:
        """Be root again in this thread for a moment. Raises RightsRefused."""
        _set_ids(0, 0)
        try:
            yield
        finally:
            _set_ids(self.uid, self.gid)


def _set_ids(uid: int, gid: int) -> None:
    _libc.setfsgid(gid)
    _libc.setfsuid(uid)
    # They return the id before, whether it was changed or not.
    now = _libc.setfsuid(ctypes.c_uint32(_ANY)), _libc.setfsgid(ctypes.c_uint32(_ANY))
    if now != (uid, gid):
        raise RightsRefused("take", f"the rights of uid {uid}", f"they are those of uid {now[0]}")
