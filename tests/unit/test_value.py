from dataclasses import field, replace

import pytest
from mypy import api

from agent.value import value


@value
class Key:
    name: str
    parts: tuple[int, ...] = ()
    secret: str = field(default="", repr=False)


def test_values_are_equal_and_one_key_when_all_their_fields_are():
    one, same, other = Key(name="a", parts=(1,)), Key(name="a", parts=(1,)), Key(name="a", parts=(2,))
    assert one == same != other
    assert {one: 1}[same] == 1
    assert hash(other) != hash(one)
    assert replace(other, parts=(1,)) == one


def test_a_value_shows_its_fields_but_no_secret():
    assert repr(Key(name="a", parts=(1,), secret="s3cr3t")) == "Key(name='a', parts=(1,))"


def test_a_value_is_made_with_names_and_takes_nothing_else():
    with pytest.raises(TypeError):
        Key("a")
    with pytest.raises(AttributeError):
        Key(name="a").more = 1


def test_nothing_changes_a_value_for_mypy_reports_it(tmp_path):
    program = tmp_path / "program.py"
    program.write_text("from agent.settings import load\n\nsettings = load(None, {})\nsettings.s3.bucket = 'other'\n")
    said, wrong, code = api.run(["--strict", "--cache-dir", str(tmp_path / "cache"), str(program)])
    assert 'program.py:4: error: Property "bucket" defined in "S3Section" is read-only' in said
    assert (wrong, code) == ("", 1)
