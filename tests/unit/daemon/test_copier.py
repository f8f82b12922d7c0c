"""Control's end of a copier that dies in the middle of a word."""

import asyncio
import socket

import pytest

from agent.copier.protocol import Moved, Record, encode
from agent.daemon.child import Child
from agent.daemon.copier import CopierGone, CopierProcess
from agent.daemon.saving import setup_of
from agent.daemon.spare import Spare
from agent.model.progress import Progress
from agent.settings import Settings

SETUP = setup_of(Settings())


async def test_p7_a_copier_that_dies_while_it_speaks_is_gone_and_can_be_started_again():
    copier = CopierProcess(SETUP, niceness=0, spare=Spare())
    ours, theirs = socket.socketpair()
    copier._child = Child(None, *await asyncio.open_connection(sock=ours))
    line = encode(Moved(progress=Progress()))
    theirs.sendall(line + line[:10])
    theirs.shutdown(socket.SHUT_WR)
    heard = []
    with pytest.raises(CopierGone):
        await copier.record(Record(name="x", document={}), heard.append)
    theirs.close()
    assert heard == [Moved(progress=Progress())]
