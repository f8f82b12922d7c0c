import pytest

from agent.printable import printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [("plain é", "plain é"), ("a\nb", "a\nb"), ("\x1b[2Jclear", "\\x1b[2Jclear"), ("\udcff", "\\udcff")],
)
def test_p8_a_name_of_a_file_can_not_drive_the_terminal(text, shown):
    assert printable(text) == shown
