import pytest

from agent.checkpoint.compare import Change, Fate, Fresh
from agent.checkpoint.head import HEAD_BYTES, encode
from agent.checkpoint.ledger import PATHS, TROUBLES, Ledger, directories_of, text_of
from agent.checkpoint.transfer import MIB, part_size_for
from agent.model.checkpoint import EntryType, Left, Totals
from agent.scratch.walk import Problem
from tests.fakes.checkpoints import a_directory, a_file, a_head, a_link, a_ref


def change_of(*entries, path=b"d", **fields):
    found = [(entry, Fresh(name=entry.name, stat=None, before=fields.pop("before", None))) for entry in entries]
    return Change(home=a_directory(path), entries=found, **{"is_known": False, **fields})


def met(*entries, **fields):
    ledger = Ledger([b"/scratch"])
    return ledger, ledger.meet(change_of(*entries, **fields))


def test_what_was_seen_and_not_stored_is_left_with_its_path():
    ledger, (first, _) = met(a_file(b"a", size=5), a_file(b"\xff", size=7))
    ledger.settle(first, first.entry)
    ledger.walked = True
    standing = ledger.standing()
    assert standing.left == Left(files=1, bytes=7, paths=("/scratch/d/\\xff",))
    assert not standing.complete


def test_a_copy_is_complete_once_walked_with_nothing_left_or_torn():
    ledger, (job,) = met(a_file(b"a"))
    ledger.settle(job, job.entry)
    assert not ledger.standing().complete
    ledger.walked = True
    assert ledger.standing().complete
    ledger, (job,) = met(a_file(b"a"))
    ledger.settle(job, a_file(b"a", torn=True))
    ledger.walked = True
    assert not ledger.standing().complete


def test_what_a_pass_is_not_to_store_is_left_and_its_older_row_counts():
    ledger, (job,) = met(a_file(b"a", size=5), before=a_file(b"a", size=3))
    ledger.build_on(Totals(files=1, bytes=3))
    ledger.leave(job)
    ledger.walked = True
    standing = ledger.standing()
    assert standing.left == Left(files=1, bytes=5, paths=("/scratch/d/a",))
    assert (standing.totals.files, standing.complete, ledger.files_total) == (1, False, 0)


def test_a_row_that_is_as_it_was_is_no_news():
    row = a_file(b"a", size=5, ref=a_ref(5), unsettled=True)
    ledger, (job,) = met(row, before=row, is_known=True)
    ledger.take()
    ledger.settle(job, row)
    assert not ledger.has_news


def test_a_head_stays_small_however_long_the_names_left_behind_are():
    ledger = Ledger([b"/scratch"])
    for number in range(5000):
        ledger.add_problem(Problem(path="é".encode() * 2000 + b"%d" % number, detail="no"))
    left = ledger.standing().left
    assert left.files == 5000
    assert 0 < len(left.paths) <= PATHS
    assert len(encode(a_head(left=left, complete=False))) < HEAD_BYTES / 4
    assert len(ledger.troubles) == TROUBLES + 1
    assert ledger.troubles[-1] == f"and {5000 - TROUBLES} more like these"


def test_what_is_given_back_is_new_again_in_order():
    ledger, (b, c) = met(a_file(b"b"), a_file(b"c"), a_link(b"a", b"t"))
    ledger.settle(c, c.entry)
    taken = ledger.take()
    assert not ledger.has_news
    ledger.settle(b, b.entry)
    ledger.give_back(taken)
    (directory,) = directories_of(ledger.take())
    assert [entry.name for entry in directory.entries] == [b"a", b"b", b"c"]
    assert directory.stat is not None


@pytest.mark.parametrize("is_stored_first", [True, False])
def test_the_row_of_a_new_name_hides_a_directory_that_had_it_whenever_the_walk_comes_past(is_stored_first):
    """Hidden again later, the row might stand in an older segment by then, and be hidden too."""
    ledger, fate = Ledger([b"/scratch"]), Fate()
    entry = a_file(b"b")
    fresh = Fresh(name=b"b", stat=None, before=None, fate=fate)
    (job,) = ledger.meet(Change(home=a_directory(b"d", stat=None), entries=[(entry, fresh)]))
    vanished = Change(home=a_directory(b"d", stat=None), is_met=False, is_first=False, gone=[b"b"], instead=fate)
    if is_stored_first:
        ledger.settle(job, entry)
        (directory,) = directories_of(ledger.take())
        assert (directory.gone, directory.entries) == ((b"b",), (entry,))
        ledger.meet(vanished)
        assert not ledger.has_news
    else:
        ledger.meet(vanished)
        (directory,) = directories_of(ledger.take())
        assert (directory.gone, directory.entries) == ((b"b",), ())
        ledger.settle(job, entry)
        (directory,) = directories_of(ledger.take())
        assert (directory.gone, directory.entries) == ((b"b",), (entry,))


def test_a_directory_goes_into_a_segment_with_the_first_of_its_files_and_those_above_it():
    ledger = Ledger([b"/scratch"])
    jobs = {path: ledger.meet(change_of(a_file(b"f"), path=path)) for path in (b"", b"a", b"a/b", b"c")}
    ledger.meet(change_of(path=b"empty"))
    ledger.settle(*jobs[b"a/b"], a_file(b"f"))
    taken = {line.home.path: line for line in ledger.take(on_the_way=True)}
    assert set(taken) == {b"", b"a", b"a/b", b"empty"}
    assert all(line.home.stat is not None for line in taken.values())
    assert not ledger.has_news
    ledger.settle(*jobs[b"a"], a_file(b"f"))
    assert [line.home.path for line in ledger.take(on_the_way=True)] == [b"a"]
    assert [line.home.path for line in ledger.take()] == [b"c"]


def test_special_files_are_counted_as_skipped():
    ledger, jobs = met(a_file(b"p").__class__(name=b"p", type=EntryType.FIFO, stat=a_file(b"p").stat))
    assert not jobs
    assert ledger.standing().totals.skipped == 1


def test_text_of_a_path_is_readable_whatever_its_bytes():
    assert text_of("/é".encode() + b"\xff\n") == "/é\\xff\n"


def test_parts_grow_with_the_file_so_that_ten_thousand_are_enough():
    assert part_size_for(5, 8 * MIB) == 8 * MIB
    assert part_size_for(80_000 * MIB, 8 * MIB) == 8 * MIB
    assert part_size_for(80_000 * MIB + 1, 8 * MIB) == 9 * MIB
    size = 48 << 40
    assert -(-size // part_size_for(size, 8 * MIB)) <= 10_000


def test_a_head_on_the_way_counts_the_directories_that_a_segment_has_and_the_last_one_all():
    ledger, (job,) = met(a_file(b"a"), path=b"busy", is_first=True)
    ledger.meet(change_of(path=b"empty", is_first=True))
    assert [line.home.path for line in ledger.take(on_the_way=True)] == [b"empty"]
    assert ledger.standing().totals.directories == 1
    ledger.settle(job, job.entry)
    assert [line.home.path for line in ledger.take()] == [b"busy"]
    assert ledger.standing().totals.directories == 2
