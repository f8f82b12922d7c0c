from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from agent.checkpoint.place import Place
from agent.checkpoint.units import PART, Batch, Folder, Large, Member, alone, ranges, units
from tests.fakes.checkpoints import DATA, a_file, a_ref

FOLDER = Folder(place=Place(root=0, path=b""), stat=None, xattrs={}, above=None, made=True)


def a_member(name, *, offset=0, length=0, key=f"{DATA}/p1.tar"):
    ref = a_ref(length, key=key, offset=offset) if length else None
    return Member(folder=FOLDER, entry=a_file(name, size=length, ref=ref))


def test_neighbours_in_a_pack_are_fetched_together():
    members = [a_member(b"%d" % n, offset=512 + n * 1024, length=100) for n in range(5)]
    [batch] = units(members)
    assert batch == Batch(key=f"{DATA}/p1.tar", offset=512, length=4 * 1024 + 100, members=tuple(members))


def test_members_far_apart_or_out_of_order_are_not():
    far = [a_member(b"a", offset=0, length=1), a_member(b"b", offset=1 << 20, length=1)]
    assert [unit.length for unit in units(far)] == [1, 1]
    assert [unit.offset for unit in units(reversed(far))] == [1 << 20, 0]


def test_a_batch_is_no_longer_than_a_part():
    members = [a_member(b"%d" % n, offset=n * (3 << 20), length=3 << 20) for n in range(5)]
    assert [unit.length for unit in units(members)] == [6 << 20, 6 << 20, 3 << 20]


def test_packs_written_side_by_side_are_each_read_in_one_go():
    members = [a_member(b"%d" % n, offset=n * 512, length=100, key=f"{DATA}/p{n % 4}.tar") for n in range(40)]
    assert len(list(units(members))) == 4


def test_a_large_file_is_a_unit_and_what_has_no_bytes_needs_no_get():
    large, empty = a_member(b"large", length=PART + 1), a_member(b"empty")
    assert list(units([large, empty])) == [Large(member=large, ref=large.entry.ref), Batch(members=(empty,))]
    assert alone(empty) == Batch(members=(empty,))


@settings(max_examples=80, derandomize=True, deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 40), st.integers(0, 70_000), st.integers(0, 9 << 20)), max_size=700),
)
def test_every_member_is_in_one_unit_and_its_bytes_in_its_get(drawn):
    members = [
        a_member(b"%d" % number, offset=offset, length=length, key=f"{DATA}/p{pack}.tar")
        for number, (pack, offset, length) in enumerate(drawn)
    ]
    found = []
    for unit in units(members):
        if isinstance(unit, Large):
            found.append(unit.member)
            continue
        found += unit.members
        assert unit.length <= PART
        for member in unit.members:
            ref = member.entry.ref
            if ref is not None:
                assert (unit.key, unit.offset <= ref.offset) == (ref.key, True)
                assert ref.offset + ref.length <= unit.offset + unit.length
    assert sorted(m.entry.name for m in found) == sorted(m.entry.name for m in members)


@settings(max_examples=80, derandomize=True, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 50), st.integers(1, 50)), max_size=8), st.integers(1, 40))
def test_ranges_put_every_stored_byte_where_it_was(drawn, part):
    extents, end = [], 0
    for gap, length in drawn:
        extents.append((end + gap, length))
        end += gap + length
    stored = [offset + i for offset, length in extents for i in range(length)]
    entry = replace(a_file(b"f", size=end), extents=tuple(extents))
    found = list(ranges(a_ref(len(stored), offset=7), entry, part=part))
    places = [offset + i for each in found for offset, length in each.spans for i in range(length)]
    assert places == stored
    assert all(sum(length for _, length in each.spans) == each.length <= part for each in found)
    assert [each.offset for each in found] == list(range(7, 7 + len(stored), part))
