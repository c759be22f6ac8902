"""Progress of long work: a bar on a terminal, a line now and then in a log."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar

if TYPE_CHECKING:
    from types import TracebackType

_STEPS = 10


class Progress:
    """Counts the files of one long step. A context manager, so that the terminal is whole again after a failure."""

    def __init__(self, title: str, unit: str, console: Console | None = None) -> None:
        self._title, self._unit = title, unit
        self._console = console or Console(stderr=True, soft_wrap=True)
        self._total = 0
        self._told = 0
        self._bar = Bar(
            TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn(unit), TimeElapsedColumn(),
            console=self._console, transient=True,
        )  # fmt: skip
        self._task = self._bar.add_task(title, start=False, visible=False)

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop() if self._console.is_terminal else None

    def start(self, total: int) -> None:
        """Say how much there is to do; 0 when it cannot be told."""
        self._total = total
        self._say(f"{self._title}: {total or 'unknown number of'} {self._unit}")
        self._bar.update(self._task, total=total or None, visible=True)
        self._bar.start_task(self._task)

    def update(self, done: int) -> None:
        """Say how much is done so far."""
        self._bar.update(self._task, completed=done)
        if self._total and (step := min(done, self._total) * _STEPS // self._total) > self._told:
            self._told = step
            self._say(f"{self._title}: {done} of {self._total} {self._unit}")

    def finish(self, done: int) -> None:
        """Say that it is done."""
        self._bar.update(self._task, completed=done)

    def _say(self, line: str) -> None:
        if not self._console.is_terminal:
            self._console.print(line, highlight=False, markup=False)
