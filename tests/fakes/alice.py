"""A job user who means harm. Run as her inside a node: `python alice.py DEED ...`; she goes on until she is killed.

Standard library only: she has no rights to more.
"""

import ctypes
import os
import signal
import socket
import sys
import time
from collections.abc import Sequence
from pathlib import Path

AT_FDCWD = -100
RENAME_EXCHANGE = 2
PR_SET_PDEATHSIG = 1


def swap(pairs: Sequence[str]) -> None:
    """Exchange the two names of each pair (`ONE:OTHER`), as fast as she can: never is one of them missing."""
    names = [tuple(os.fsencode(name) for name in pair.split(":")) for pair in pairs]
    exchange = ctypes.CDLL(None, use_errno=True).renameat2
    while True:
        for one, other in names:
            exchange(AT_FDCWD, one, AT_FDCWD, other, RENAME_EXCHANGE)


def plant_link(pairs: Sequence[str]) -> None:
    """Replace each path by a link to the target (`PATH:TARGET`) whenever there is something else, directories too."""
    names = [(Path(path), target) for path, _, target in (pair.partition(":") for pair in pairs)]
    while True:
        for path, target in names:
            try:
                if not path.is_symlink():
                    path.rename(f"{path}.aside-{time.monotonic_ns()}")
                    path.symlink_to(target)
            except OSError:
                continue


def listen_for_a_reader(fifos: Sequence[str]) -> None:
    """Say which FIFO somebody has opened for reading: only then can it be opened for writing without waiting."""
    while True:
        for fifo in fifos:
            try:
                fd = os.open(fifo, os.O_WRONLY | os.O_NONBLOCK)
            except OSError:
                continue
            os.close(fd)
            sys.stdout.write(f"{fifo} was opened\n")
            sys.stdout.flush()


def hold(arguments: Sequence[str]) -> None:
    """Open so many connections to a socket and say nothing, as each of the users in turn: SOCKET NUMBER UID..."""
    path, number, *users = arguments
    held = []
    for user in map(int, users):
        if os.fork() == 0:
            os.setresgid(user, user, user)
            os.setresuid(user, user, user)
            ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
            while True:
                held += [connected(path) for _ in range(int(number) - len(held))]
                held = [one for one in held if is_open(one)]
                time.sleep(0.01)
    while True:
        time.sleep(1)


def hold_port(arguments: Sequence[str]) -> None:
    """Keep so many connections to a port of this machine, with half a request on each: PORT NUMBER."""
    port, number = map(int, arguments)
    held: list[socket.socket] = []
    while True:
        held = [one for one in held if is_open(one)]
        while len(held) < number:
            one = socket.create_connection(("127.0.0.1", port))
            one.sendall(b"GET /metr")
            held.append(one)
        time.sleep(0.1)


def flood(arguments: Sequence[str]) -> None:
    """Connect and leave, and send rubbish, as often as possible: SOCKET."""
    (path,) = arguments
    rubbish = [
        b"",
        b"\n",
        b"{",
        b"\0" * 1000,
        b'{"op":"status"',
        b'{"op":"evacuate"}\n',
        b"9" * 70_000,
        b"[" * 5000 + b"\n",
    ]
    while True:
        for piece in rubbish:
            try:
                with connected(path) as one:
                    one.settimeout(0.2)
                    one.sendall(piece)
            except OSError:
                continue


def connected(path: str) -> socket.socket:
    one = socket.socket(socket.AF_UNIX)
    one.connect(path)
    return one


def is_open(one: socket.socket) -> bool:
    try:
        return one.recv(1, socket.MSG_DONTWAIT | socket.MSG_PEEK) != b""
    except BlockingIOError:
        return True
    except OSError:
        return False


DEEDS = {deed.__name__: deed for deed in (swap, plant_link, listen_for_a_reader, hold, hold_port, flood)}
FILE = Path(__file__)


if __name__ == "__main__":
    DEEDS[sys.argv[1]](sys.argv[2:])
