"""Progress bars on stderr, for commands with several steps."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID


class StepBars:
    """One bar per step; a bar appears when its step begins."""

    def __init__(self, bars: Progress) -> None:
        self._bars = bars
        self._tasks: dict[str, TaskID] = {}

    def advance(self, step: str, done: int, total: int, text: str | None = None) -> None:
        """Show that `done` of `total` parts of `step` are done; `text` replaces the step's name."""
        if step not in self._tasks:
            self._tasks[step] = self._bars.add_task(text or step, total=total, completed=done)
        self._bars.update(self._tasks[step], completed=done, description=text or step)

    def say(self, line: str) -> None:
        """Print a line above the bars."""
        self._bars.console.print(line, highlight=False, soft_wrap=True)


@contextmanager
def step_bars() -> Iterator[StepBars]:
    """Bars for as long as the block runs."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as bars:
        yield StepBars(bars)
