"""Control's end of a copier that dies in the middle of a word."""

import asyncio
import socket

import pytest

from agent.copier.protocol import Moved, Record, encode
from agent.daemon.copier import CopierGone, CopierProcess
from agent.model.progress import Progress


async def test_p7_a_copier_that_dies_while_it_speaks_is_gone_and_can_be_started_again():
    copier = CopierProcess(config=None, niceness=0)
    ours, theirs = socket.socketpair()
    copier._reader, copier._writer = await asyncio.open_connection(sock=ours)
    line = encode(Moved(progress=Progress()))
    theirs.sendall(line + line[:10])
    theirs.shutdown(socket.SHUT_WR)
    heard = []
    with pytest.raises(CopierGone):
        await copier.record(Record(name="x", document={}), heard.append)
    theirs.close()
    assert heard == [Moved(progress=Progress())]
