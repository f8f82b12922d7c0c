from agent.checkpoint.buffers import Buffers


def test_what_was_given_back_is_handed_out_again():
    buffers = Buffers(100, 2)
    first = buffers.take(60)
    assert len(first) == 100
    assert buffers.take(100) is not first
    buffers.give(first)
    assert buffers.take(26) is first


def test_what_needs_little_gets_little_and_is_not_kept():
    buffers = Buffers(100, 2)
    little = buffers.take(25)
    assert len(little) == 25
    buffers.give(little)
    assert len(buffers.take(26)) == 100


def test_no_more_are_kept_than_was_said_and_none_of_another_size():
    buffers = Buffers(100, 1)
    kept, other, large = buffers.take(50), buffers.take(50), buffers.take(101)
    assert len(large) == 101
    for buffer in (large, kept, other):
        buffers.give(buffer)
    assert buffers.take(50) is kept
    assert buffers.take(50) is not other
