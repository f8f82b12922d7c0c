"""What control and copier say to each other survives the wire; anything else is refused."""

import pytest

from agent.copier.protocol import (
    Committed,
    Copied,
    Finish,
    Moved,
    NotUnderstood,
    Record,
    Recorded,
    Refused,
    Save,
    Saved,
    Until,
    Waiting,
    decode,
    encode,
)
from agent.model.progress import Progress

MESSAGES = [
    Save(
        checkpoint="c",
        reason="evacuation",
        node={"name": "n1"},
        commit_every=4.0,
        begun={"name": "x"},
        jobs=[{"job": 7}],
    ),
    Until(until=12.5),
    Finish(),
    Record(name="outcomes/x.json", document={"outcome": "COMPLETE"}),
    Moved(progress=Progress(files_total=3, bytes_done=7, walked=True), requests={"put ok": 3}),
    Waiting(what="put: no answer", hint="is S3 reachable?"),
    Committed(saved={"n": 1}),
    Copied(trouble=("a", "b")),
    Saved(saved={"n": 2}, trouble=("torn",)),
    Recorded(name="x"),
    Refused(asked="Save", what="denied", hint="allow it"),
]


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: type(message).__name__)
def test_a_message_is_one_line_and_comes_back_equal(message):
    line = encode(message)
    assert line.count(b"\n") == 1
    assert decode(line) == message


@pytest.mark.parametrize(
    "line", [b"", b"{}\n", b"[]\n", b"nonsense\n", b'{"type":"Explode"}\n', b'{"type":"Finish","x":1}\n']
)
def test_what_is_no_message_is_refused(line):
    with pytest.raises(NotUnderstood):
        decode(line)
