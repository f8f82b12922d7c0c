from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from agent.checkpoint.merge import merge
from agent.checkpoint.segment import RUN_ENTRIES, decode, encode, split
from tests.fakes.checkpoints import a_directory, a_file, a_stat, segments


def flat(directories):
    """Every path of a tree: of an entry its entry, of a directory its stat and attributes."""
    found = {}
    for directory in directories:
        if not directory.run:
            found[directory.path, None] = (directory.stat, directory.xattrs)
        for entry in directory.entries:
            found[directory.path, entry.name] = entry
    return found


def below(path, directory, name):
    gone = f"{directory.decode('latin-1')}/{name.decode('latin-1')}".lstrip("/")
    text = path.decode("latin-1")
    return text == gone or text.startswith(f"{gone}/")


def replayed(layers):
    """The same by the book: one segment after the other onto a dictionary."""
    tree = {}
    for layer in layers:
        for directory in layer:
            for name in directory.gone:
                hidden = [
                    (path, entry)
                    for path, entry in tree
                    if (path, entry) == (directory.path, name) or below(path, directory.path, name)
                ]
                for place in hidden:
                    del tree[place]
        for directory in layer:
            place = (directory.path, None)
            if directory.stat is not None or tree.get(place, (None,))[0] is None:
                tree[place] = (directory.stat, directory.xattrs)
            tree |= {(directory.path, entry.name): entry for entry in directory.entries}
    return tree


@settings(max_examples=60, derandomize=True, deadline=None)
@given(st.lists(segments(), max_size=4))
def test_a_merge_is_one_segment_after_the_other(layers):
    merged = list(merge(layers))
    assert flat(merged) == replayed(layers)
    assert all(directory.gone == () for directory in merged)
    assert list(decode(encode(merged))) == merged


@settings(max_examples=60, derandomize=True, deadline=None)
@given(st.lists(segments(), min_size=1, max_size=4), st.data())
def test_a_merge_that_keeps_what_is_gone_takes_the_place_of_its_segments(layers, data):
    start = data.draw(st.integers(0, len(layers) - 1))
    end = data.draw(st.integers(start, len(layers)))
    packed = list(merge(layers[start:end], keep_gone=True))
    assert list(decode(encode(packed))) == packed
    assert flat(merge([*layers[:start], packed, *layers[end:]])) == flat(merge(layers))


def test_the_newest_row_stat_and_attributes_win():
    base = [a_directory(b"", a_file(b"a"), a_file(b"b"), stat=a_stat(mode=0o700), xattrs={"user.a": b"1"})]
    delta = [a_directory(b"", a_file(b"b", uid=7), stat=a_stat(mode=0o755))]
    assert list(merge([base, delta])) == [
        a_directory(b"", a_file(b"a"), a_file(b"b", uid=7), stat=a_stat(mode=0o755)),
    ]


def test_a_tombstone_takes_a_file_or_a_whole_subtree_of_older_segments():
    base = [a_directory(b"", a_file(b"a"), a_file(b"b")), a_directory(b"d", a_file(b"x")), a_directory(b"d/e")]
    delta = [a_directory(b"", gone=(b"a", b"d"))]
    assert list(merge([base, delta])) == [a_directory(b"", a_file(b"b"))]


def test_a_tombstone_leaves_its_own_and_newer_segments_alone():
    base = [a_directory(b""), a_directory(b"d", a_file(b"x")), a_directory(b"d/e", a_file(b"y"))]
    again = [a_directory(b"", gone=(b"d",)), a_directory(b"d", a_file(b"new"))]
    later = [a_directory(b"d/e", a_file(b"z"))]
    assert list(merge([base, again, later])) == [
        a_directory(b""),
        a_directory(b"d", a_file(b"new")),
        a_directory(b"d/e", a_file(b"z")),
    ]


def test_a_file_becomes_a_directory_and_a_directory_a_file():
    base = [a_directory(b"", a_file(b"was-file")), a_directory(b"was-dir", a_file(b"x"))]
    delta = [a_directory(b"", a_file(b"was-dir"), gone=(b"was-dir", b"was-file")), a_directory(b"was-file")]
    assert list(merge([base, delta])) == [a_directory(b"", a_file(b"was-dir")), a_directory(b"was-file")]


def test_a_name_beside_a_tombstone_is_not_below_it():
    base = [a_directory(b"a"), a_directory(b"a-b"), a_directory(b"a.c")]
    assert [found.path for found in merge([base, [a_directory(b"", gone=(b"a",))]])] == [b"", b"a-b", b"a.c"]


def test_runs_are_merged_by_name_and_made_anew():
    names = [b"%05d" % number for number in range(25_000)]
    base = list(split(a_directory(b"d", *map(a_file, names))))
    odd = list(split(a_directory(b"d", *(a_file(name, uid=1) for name in names[1::2]), gone=names[::4])))
    merged = list(merge([base, odd]))
    assert [found.run for found in merged] == list(range(len(merged)))
    assert max(len(found.entries) for found in merged) <= RUN_ENTRIES
    entries = [entry for found in merged for entry in found.entries]
    assert entries == [a_file(n, uid=1 if i % 2 else 1000) for i, n in enumerate(names) if i % 4]


def test_segments_are_read_as_they_are_asked_for():
    read = []

    def lines():
        for number in range(1000):
            read.append(number)
            yield a_directory(b"%04d" % number)

    merged = merge([lines(), [a_directory(b"0001", stat=None)]])
    assert next(merged).path == b"0000"
    assert len(read) <= 2
    assert next(merged).stat == a_stat(mode=0o755)


def test_roots_are_apart():
    base = [a_directory(b"d"), replace(a_directory(b"d"), root=1)]
    assert list(merge([base, [a_directory(b"", gone=(b"d",))]])) == [
        a_directory(b""),
        replace(a_directory(b"d"), root=1),
    ]
