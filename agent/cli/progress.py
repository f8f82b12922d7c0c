"""Progress on stderr: a bar on a terminal, now and then a line elsewhere, nothing beside a JSON document."""

import sys
from dataclasses import replace
from types import TracebackType
from typing import Final, Protocol, Self, TextIO

from agent.cli.output import size
from agent.model.progress import Progress

STEP: Final = 10
"""Percent between two plain lines."""


class Display(Protocol):
    """Used as `with display(...) as shown: shown.show(progress)`."""

    def show(self, progress: Progress) -> None: ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None: ...


def display(label: str, *, quiet: bool, stream: TextIO | None = None) -> Display:
    """Return what shows the progress of `label` ("saving") in the way that suits `stream`."""
    stream = sys.stderr if stream is None else stream
    if quiet:
        return Silence()
    return Bar(label, stream) if stream.isatty() else Lines(label, stream)


class Silence:
    def show(self, progress: Progress) -> None:
        del progress

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass


class Lines:
    """A line for every tenth of the way: what a log can hold."""

    def __init__(self, label: str, stream: TextIO) -> None:
        self._label = label
        self._stream = stream
        self._next = 0
        self._waiting = ""

    def show(self, progress: Progress) -> None:
        if progress.waiting != self._waiting:
            self._waiting = progress.waiting
            if progress.waiting:
                self._stream.write(f"{self._label}: waiting: {progress.waiting}\n")
        if progress.walked and percent(progress) >= self._next:
            self._next = percent(progress) // STEP * STEP + STEP
            self._stream.write(f"{self._label}: {percent(progress)} %, {counts(progress)}\n")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.flush()


class Bar:
    """A moving bar with rate and time left."""

    def __init__(self, label: str, stream: TextIO) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn, TransferSpeedColumn
        from rich.progress import Progress as Rich

        self._rich = Rich(
            TextColumn("{task.description}"),
            BarColumn(),
            DownloadColumn(binary_units=True),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[files]}", markup=False),
            console=Console(file=stream),
        )
        self._task = self._rich.add_task(label, total=None, files="")

    def show(self, progress: Progress) -> None:
        files = progress.waiting or f"{progress.files_done:,}/{progress.files_total:,} files"
        total = progress.bytes_total if progress.walked else None
        self._rich.update(self._task, total=total, completed=progress.bytes_done, files=files)

    def __enter__(self) -> Self:
        self._rich.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._rich.stop()


class Told:
    """Brings together what is told of the copy and what of the store."""

    def __init__(self, shown: Display) -> None:
        self._shown = shown
        self._progress = Progress()

    def progress(self, progress: Progress) -> None:
        self._progress = replace(progress, waiting=self._progress.waiting)
        self._shown.show(self._progress)

    def waiting(self, what: str) -> None:
        self._progress = replace(self._progress, waiting=what)
        self._shown.show(self._progress)


def percent(progress: Progress) -> int:
    """Return how much of the bytes is done; of no bytes all is done once the walk has ended."""
    if progress.bytes_total:
        return 100 * progress.bytes_done // progress.bytes_total
    return 100 if progress.walked else 0


def counts(progress: Progress) -> str:
    done = f"{size(progress.bytes_done)} of {size(progress.bytes_total)}"
    return f"{done}, {progress.files_done:,} of {progress.files_total:,} files"
