"""A body is read like a file, sent in slices of the caller's own memory, and can be sent again."""

import io

from agent.aws.body import SlicedBody

DATA = bytes(range(256)) * 4096  # 1 MiB


async def slices(body):
    return [each async for each in body]


async def test_slices_are_the_body_and_no_copy_of_it():
    buffer = bytearray(DATA)
    sent = await slices(SlicedBody(memoryview(buffer), lambda: None))
    assert b"".join(sent) == DATA
    assert all(each.obj is buffer for each in sent)


async def test_each_slice_taken_is_a_sign_of_life():
    signs = []
    sent = await slices(SlicedBody(DATA, lambda: signs.append(1)))
    assert len(signs) == len(sent) > 1


async def test_a_body_can_be_sent_again():
    body = SlicedBody(DATA, lambda: None)
    assert await slices(body) == await slices(body)


async def test_an_empty_body_has_no_slices():
    body = SlicedBody(b"", lambda: None)
    assert (len(body), await slices(body)) == (0, [])


def test_a_body_reads_like_a_file():
    body = SlicedBody(b"0123456789", lambda: None)
    assert (len(body), body.read(3), body.tell(), body.read()) == (10, b"012", 3, b"3456789")
    assert (body.seek(-2, io.SEEK_END), body.read()) == (8, b"89")
    assert (body.seek(0), body.seek(4, io.SEEK_CUR), body.read(2)) == (0, 4, b"45")
