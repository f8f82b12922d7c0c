"""What the demo says: numbered steps, a bar while bytes move, nothing that needs a colour to be read."""

import contextlib
import textwrap
import time
from collections.abc import Callable, Iterator
from typing import Final, TextIO

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn
from rich.text import Text

INDENT: Final = " " * 14
"""Of what stands below a step's first line."""


class Narrator:
    """Prints to `stream`. Without a terminal it uses no colour, and no bar but a line for every quarter of the way."""

    def __init__(self, stream: TextIO) -> None:
        self._console = Console(file=stream, highlight=False, markup=False, emoji=False, soft_wrap=True)
        self._steps = 0

    @property
    def moves(self) -> bool:
        """Whether lines can be drawn again."""
        return self._console.is_terminal and not self._console.is_dumb_terminal

    def line(self, text: str = "", style: str = "") -> None:
        self._console.print(Text(text, style=style))

    def step(self, name: str, text: str) -> None:
        """Begin the next step."""
        self._steps += 1
        self._console.print(Text.assemble((f" {self._steps}  {name:9} ", "bold cyan"), text))

    def more(self, text: str, style: str = "") -> None:
        """Say more about the step, below its first line."""
        self._console.print(Text(f"{INDENT}{text}", style=style))

    def wrapped(self, text: str, style: str = "") -> None:
        """Say more that is long: it is broken between words."""
        width = max(40, self._console.width - len(INDENT) - 1)
        for line in textwrap.wrap(text, width, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False):
            self.more(line, style)

    @contextlib.contextmanager
    def busy(self, what: str) -> Iterator[None]:
        """Show that something takes its time; it leaves no trace on the terminal."""
        if not self.moves:
            yield
            return
        with self._console.status(Text(what)):
            yield

    @contextlib.contextmanager
    def bar(self, name: str) -> Iterator[Callable[[int, int, str], None]]:
        """Begin a step with a bar; what is given takes bytes done, bytes in all (0: not known) and a few words."""
        self._steps += 1
        label = f" {self._steps}  {name:9} "
        if not self.moves:
            yield _Quarters(label, self.line).show
            return
        columns = (TextColumn("{task.description}", style="bold cyan"), BarColumn(14), TaskProgressColumn())
        progress = Progress(*columns, TextColumn("{task.fields[words]}"), console=self._console, refresh_per_second=20)
        with progress:
            task = progress.add_task(label, total=None, words="")

            def show(done: int, total: int, words: str) -> None:
                progress.update(task, completed=done, total=total or None, words=words)

            yield show


class _Quarters:
    """A line for every quarter of the way: what a log can hold."""

    def __init__(self, label: str, line: Callable[[str], None]) -> None:
        self._label = label
        self._line = line
        self._next = 0

    def show(self, done: int, total: int, words: str) -> None:
        percent = 100 * done // total if total else 0
        if not total or percent < self._next:
            return
        self._line(f"{self._label} {percent:3} %  {words}")
        self._label, self._next = INDENT[:-1], percent // 25 * 25 + 25


class Pace:
    """Bytes per second since the first byte, for the words beside the bar."""

    def __init__(self) -> None:
        self._began = time.monotonic()

    def words(self, done: int, total: int, files_done: int, files_total: int) -> str:
        seconds = max(0.1, time.monotonic() - self._began)
        rate = f"{done / seconds / 1e6:.0f} MB/s"
        return f"{done / 1e6:.0f} of {total / 1e6:.0f} MB  {files_done:,} of {files_total:,} files  {rate}"
