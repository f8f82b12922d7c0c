"""However the bytes of a batch are cut, each member gets its own, as soon as they are there."""

from hypothesis import given
from hypothesis import strategies as st

from agent.checkpoint.place import Place
from agent.checkpoint.placing import Placed
from agent.checkpoint.sorting import Sorting
from agent.checkpoint.units import Batch, Folder, Member
from tests.fakes.checkpoints import a_file, a_ref

FOLDER = Folder(place=Place(root=0, path=b""), stat=None, xattrs={}, above=None, made=True)


def batch_of(lengths, gap):
    """Return a batch of members of these lengths with gaps between, from byte 512 of its object on."""
    members, at = [], 512
    for number, length in enumerate(lengths):
        entry = a_file(b"%d" % number, size=length, ref=a_ref(offset=at, length=length))
        members.append(Member(folder=FOLDER, entry=entry))
        at += length + gap
    return Batch(members=tuple(members), key="pack", offset=512, length=at - gap - 512)


@given(
    lengths=st.lists(st.integers(1, 40), min_size=1, max_size=8),
    gap=st.integers(0, 5),
    cuts=st.lists(st.integers(1, 60), max_size=30),
)
def test_each_member_gets_its_bytes_however_they_come(lengths, gap, cuts):
    batch, got = batch_of(lengths, gap), {}

    def place(member, data):
        got[member.entry.name] = bytes(data)
        return Placed(member=member, failed=False)

    sorting, at, data = Sorting(batch, place), 0, bytes(number % 251 for number in range(batch.length))
    for cut in (*cuts, batch.length):
        sorting.take(memoryview(data)[at : at + cut])
        at = min(at + cut, batch.length)
        here = [m for m in batch.members if m.entry.ref.offset + m.entry.ref.length - 512 <= at]
        assert [placed.member for placed in sorting.placed] == here
    assert not sorting.missing
    for member in batch.members:
        start = member.entry.ref.offset - 512
        assert got[member.entry.name] == data[start : start + member.entry.ref.length]
