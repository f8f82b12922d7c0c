import io

from agent.demo.narration import Narrator


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_log_gets_a_line_for_every_quarter_and_no_colour():
    log = io.StringIO()
    with Narrator(log).bar("Copy") as show:
        show(0, 0, "nothing is known yet")
        for done in range(101):
            show(done, 100, f"{done} of 100")
    assert log.getvalue().splitlines() == [
        " 1  Copy         0 %  0 of 100",
        "               25 %  25 of 100",
        "               50 %  50 of 100",
        "               75 %  75 of 100",
        "              100 %  100 of 100",
    ]


def test_a_log_is_plain_text():
    log = io.StringIO()
    narrator = Narrator(log)
    narrator.line("a line [with] :smile:", style="bold red")
    narrator.step("Drain", "State=IDLE+DRAIN")
    with narrator.busy("working"):
        narrator.wrapped("Reason=" + "word " * 40)
    lines = log.getvalue().splitlines()
    assert lines[:2] == ["a line [with] :smile:", " 1  Drain     State=IDLE+DRAIN"]
    assert all(len(line) < 80 for line in lines)


def test_a_terminal_gets_a_bar():
    terminal = Terminal()
    narrator = Narrator(terminal)
    if narrator.moves:  # not with TERM=dumb
        with narrator.bar("Copy") as show:
            show(50, 100, "half")
        assert "half" in terminal.getvalue()
