import gzip
import json
import zlib
from dataclasses import replace
from functools import partial

import pytest
from hypothesis import given, settings

from agent.checkpoint import segment
from agent.checkpoint.format import FormatInvalid
from agent.checkpoint.segment import LINE_BYTES, decode, encode, split
from agent.model.checkpoint import EntryType
from tests.fakes.checkpoints import DATA, a_directory, a_file, a_link, a_ref, a_stat, segments

FIRST = {"schema": 1, "format": "hpc-agent segment"}
ROW = ["f", 420, 0, 0, 0, 1, 2, 3]
LINE = {"root": 0, "dir": "", "names": ["a"], "rows": [ROW], "objects": []}
FULL = LINE | {"rows": [["f", 420, 0, 0, 9, 1, 2, 3, 0, 0, "0" * 16]], "objects": [f"{DATA}/p1.tar"]}


zipped = partial(gzip.compress, mtime=0)
"""The same bytes in every process: workers of a parallel run have to name the tests alike."""


def planted(*lines, first=FIRST):
    return zipped(b"".join(json.dumps(line).encode() + b"\n" for line in (first, *lines)))


@settings(max_examples=60, derandomize=True, deadline=None)
@given(segments())
def test_what_is_encoded_is_decoded(directories):
    blob = encode(directories)
    assert list(decode(blob, roots=1)) == directories
    assert encode(directories) == blob


def test_a_segment_is_gzipped_lines_as_the_format_says():
    ref = a_ref(9, offset=512, crc64nvme=0xABC)
    found = a_directory(b"d", a_file(b"a", size=9, ref=ref), a_link(b"\xff", b"\xfe"), gone=(b"b", b"\xfd"))
    first, line = gzip.decompress(encode([found])).splitlines()
    assert json.loads(first) == FIRST
    assert b" " not in line
    assert json.loads(line) == {
        "root": 0,
        "dir": "d",
        "stat": [0o755, 1000, 1000, 1, 2, 3],
        "names": ["a", None],
        "names64": {"1": "/w=="},
        "rows": [["f", 0o644, 1000, 1000, 9, 1, 2, 3, 0, 512, "0000000000000abc"], ["l", 511, 1000, 1000, 0, 1, 2, 3]],
        "objects": [f"{DATA}/p1.tar"],
        "more": {"1": {"target64": "/g=="}},
        "gone": ["b"],
        "gone64": ["/Q=="],
    }


def test_an_unknown_field_is_ignored():
    assert [found.path for found in decode(planted(LINE | {"later": 1}))] == [b""]


def test_a_directory_is_yielded_before_the_rest_is_read():
    blob = planted(LINE, LINE | {"dir": ".."})
    lines = decode(blob)
    assert next(lines).path == b""
    with pytest.raises(FormatInvalid, match="line 3"):
        next(lines)


@pytest.mark.parametrize(
    "changed",
    [
        {"names": [""]},
        {"names": ["."]},
        {"names": [".."]},
        {"names": ["a/b"]},
        {"names": ["/etc"]},
        {"names": ["a\0b"]},
        {"names": ["\ud800"]},
        {"names": [None]},
        {"names": [None], "names64": {"0": "Li4="}},
        {"names": [None], "names64": {"0": "not base64"}},
        {"names": ["b", "a"], "rows": [ROW, ROW]},
        {"names": ["a", "a"], "rows": [ROW, ROW]},
        {"names": ["a", "b"]},
        {"names": "a"},
        {"names": 1},
        {"dir": "/etc"},
        {"dir": "a/../b"},
        {"dir": ".."},
        {"dir": "a//b"},
        {"dir": "a/"},
        {"dir": None},
        {"dir64": "Li4="},
        {"root": -1},
        {"root": 1},
        {"root": True},
        {"run": 1},
        {"run": "0"},
        {"stat": [1, 2, 3]},
        {"stat": [-1, 0, 0, 0, 0, 0]},
        {"xattrs": {"": ""}},
        {"xattrs": {"user.a": 1}},
        {"gone": ["b", ".."]},
        {"gone64": ["Li4="]},
        {"more": {"1": {}}},
        {"more": {"x": {}}},
        {"more": {"0": {"torn": 1}}},
        {"more": {"0": {"link": 1}}},
        {"more": {"0": {"extents": [[0, 1]]}}},
        {"objects": ["data/../../other"]},
        {"objects": [f"other/{DATA}/p1.tar"]},
        {"objects": [1]},
        {"rows": [[*ROW[:7]]]},
        {"rows": [[*ROW, 0]]},
        {"rows": [[*ROW, 0, 0, "0" * 16]]},
        {"rows": [["d", *ROW[1:]]]},
        {"rows": [[["f"], *ROW[1:]]]},
        {"rows": [["l", *ROW[1:]]]},
        {"rows": [["f", 0o10000, *ROW[2:]]]},
        {"rows": [["f", 1.5, *ROW[2:]]]},
        {"rows": [["f", True, *ROW[2:]]]},
        {"rows": [["f", 420, -1, *ROW[3:]]]},
        {"rows": [["f", 420, 0, 2**32 - 1, *ROW[4:]]]},
        {"rows": [["f", 420, 0, 0, 0, 2**63 * 10**9, 2, 3]]},
        {"rows": [["f", 420, 0, 0, -1, 1, 2, 3]]},
        {"rows": [["f", 420, 0, 0, 10**30, 1, 2, 3]]},
        {"rows": [["f", 420, 0, 0, 9, 1, 2, 3]]},
        {"rows": ["f4200012"]},
        {"rows": None},
    ],
    ids=repr,
)
def test_p8_a_planted_line_is_refused_by_key_and_number(changed):
    with pytest.raises(FormatInvalid, match=r"seg-9 line 2"):
        list(decode(planted(LINE | changed), key="seg-9", roots=1))


@pytest.mark.parametrize(
    "tail",
    [
        (1, 0, "0" * 16),
        (-1, 0, "0" * 16),
        (0, -1, "0" * 16),
        (0, 2**63 - 5, "0" * 16),
        (0, 0, "0" * 15),
        (0, 0, "x" * 16),
        (0, 0, 0),
        (True, 0, "0" * 16),
    ],
    ids=repr,
)
def test_a_place_that_no_object_has_is_refused(tail):
    assert list(decode(planted(FULL)))
    with pytest.raises(FormatInvalid):
        list(decode(planted(FULL | {"rows": [["f", 420, 0, 0, 9, 1, 2, 3, *tail]]})))


@pytest.mark.parametrize("extents", [[[-1, 2]], [[0, 0]], [[0, 10]], [[2, 2], [3, 1]], [[0]], [[0, True]], 7])
def test_extents_that_no_file_has_are_refused(extents):
    with pytest.raises(FormatInvalid):
        list(decode(planted(FULL | {"more": {"0": {"extents": extents}}})))


@pytest.mark.parametrize(
    "lines",
    [
        (LINE, LINE),
        (LINE | {"dir": "b"}, LINE | {"dir": "a"}),
        (LINE | {"dir": "a-b"}, LINE | {"dir": "a/x"}),
        (LINE | {"dir": "b"}, LINE),
        (LINE, LINE | {"run": 2}),
        (LINE, LINE | {"run": 1}),
        (LINE, LINE | {"run": 1, "names": [], "rows": []}),
        (LINE | {"gone": ["c"]}, LINE | {"run": 1, "names": ["b"]}),
        (LINE, LINE | {"run": 1, "names": ["b"], "stat": [0, 0, 0, 0, 0, 0]}),
    ],
)
def test_lines_out_of_order_are_refused(lines):
    with pytest.raises(FormatInvalid, match="line 3"):
        list(decode(planted(*lines)))


@pytest.mark.parametrize(
    "blob",
    [
        b"",
        b"no gzip",
        planted(LINE)[:-9],
        planted(LINE)[:20],
        planted(LINE) + b"more",
        planted(LINE)[:-5] + b"\0\0\0\0\0",
        zipped(b"[]\n"),
        zipped(b"{}\n"),
        zipped(b"[" * 100_000 + b"\n"),
        zipped(json.dumps(FIRST).encode()),
        planted(first=FIRST | {"schema": 2}),
        planted(first=FIRST | {"format": "hpc-agent head"}),
        planted([1]),
        zipped(json.dumps(FIRST).encode() + b"\n\xff\xfe{}\n"),
        zipped(json.dumps(FIRST).encode() + b'\n{"root":' + b"1" * 5000 + b"}\n"),
    ],
)
def test_what_is_no_segment_is_refused(blob):
    with pytest.raises(FormatInvalid):
        list(decode(blob))


def test_p8_a_gzip_bomb_stops_at_the_longest_line(monkeypatch):
    monkeypatch.setattr(segment, "LINE_BYTES", 1 << 20)  # the true limit takes half a second
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    blob = b"".join(packer.compress(b" " * (1 << 20)) for _ in range(64)) + packer.flush()
    with pytest.raises(FormatInvalid, match="too long"):
        list(decode(blob))


@pytest.mark.parametrize(
    "wrong",
    [
        [a_directory(b"b"), a_directory(b"a")],
        [a_directory(b"a"), a_directory(b"a")],
        [a_directory(b"..")],
        [a_directory(b"", a_file(b"b"), a_file(b"a"))],
        [a_directory(b"", a_file(b"a/b"))],
        [a_directory(b"", gone=(b"b", b"a"))],
        [a_directory(b"", a_file(b"a", size=9))],
        [a_directory(b"", a_file(b"a", size=9, ref=a_ref(8)))],
        [a_directory(b"", a_file(b"a", size=9, ref=a_ref(9, key="elsewhere")))],
        [a_directory(b"", a_file(b"a", xattrs={"user.a": bytes(LINE_BYTES)}))],
    ],
    ids=range(10),
)
def test_what_no_reader_would_accept_is_not_written(wrong):
    with pytest.raises(ValueError):
        encode(wrong)


def test_a_directory_of_many_entries_is_split_into_runs_that_read_back():
    many = [a_file(b"%06d" % number) for number in range(25_000)]
    whole = a_directory(b"d", *many, gone=[b"%06d-" % number for number in range(0, 25_000, 100)])
    runs = list(split(whole))
    assert [run.run for run in runs] == [0, 1, 2]
    assert [run.stat is None for run in runs] == [False, True, True]
    assert max(len(run.entries) + len(run.gone) for run in runs) <= 10_000
    again = list(decode(encode(runs)))
    assert again == runs
    assert tuple(entry for run in again for entry in run.entries) == whole.entries
    assert tuple(name for run in again for name in run.gone) == whole.gone


def test_a_small_directory_is_one_run():
    for directory in (a_directory(b""), a_directory(b"d", a_file(b"a"), gone=(b"b",))):
        assert list(split(directory)) == [directory]


def test_a_directory_with_long_attributes_is_split_by_bytes():
    heavy = [replace(a_file(b"%03d" % number), xattrs={"user.a": bytes(60_000)}) for number in range(300)]
    runs = list(split(a_directory(b"d", *heavy)))
    assert len(runs) == 3
    assert list(decode(encode(runs))) == runs


def test_what_is_never_stored_keeps_its_kind():
    devices = [replace(a_file(kind.value.encode()), type=kind) for kind in sorted(EntryType) if kind.is_skipped]
    [found] = decode(encode([a_directory(b"", *devices)]))
    assert [entry.type for entry in found.entries] == sorted(kind for kind in EntryType if kind.is_skipped)


def test_a_time_that_only_some_file_systems_keep_is_no_reason_to_refuse_a_segment():
    far = a_file(b"a", mtime_ns=(2**63 - 1) * 10**9 + 999_999_999)
    assert next(decode(encode([a_directory(b"", far)]))).entries == (far,)


def test_a_stat_of_a_directory_has_no_size():
    [found] = decode(encode([a_directory(b"", stat=a_stat(size=4096))]))
    assert found.stat == a_stat(size=0)
