"""What the commands of `sketchseek gallery` print: progress on stderr, reports on stdout."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from index_builder.ingest.build_report import BuildReport, OnProgress


@contextmanager
def shown_progress() -> Iterator[OnProgress]:
    """A bar on stderr with photos per second and time left; a line now and then if stderr is no terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from index_builder.ingest.build_report import BuildProgress

    console = Console(stderr=True)
    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[rate]}"), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as bar:
        task = bar.add_task("photos", total=None, rate="")
        show = _lines() if not console.is_terminal else None

        def update(progress: BuildProgress) -> None:
            if show is not None:
                show(progress)
            rate = f"{progress.rate:.1f} photos/s, {progress.skipped} skipped"
            bar.update(task, completed=progress.done, total=progress.total, rate=rate)

        yield update


def _lines(every_s: float = 10.0) -> Callable[[Any], None]:
    import time

    last = time.monotonic()

    def show(progress: Any) -> None:
        nonlocal last
        if time.monotonic() - last >= every_s:
            last = time.monotonic()
            left = "" if progress.seconds_left is None else f", {progress.seconds_left:.0f} s left"
            print(f"{progress.done} of {progress.total} photos, {progress.rate:.1f} per second{left}", file=sys.stderr)

    return show


def print_report(report: BuildReport, *, as_json: bool) -> None:
    """What a build, sync or removal did, on stdout."""
    if as_json:
        print_json(asdict(report))
        return
    for skipped in report.skipped:
        print(f"skipped {printable(skipped.path)}: {printable(skipped.reason)}")
    print(
        f"{report.added} added, {report.changed} changed, {report.removed} removed, {report.unchanged} unchanged, "
        f"{len(report.skipped)} skipped; {report.photos} photos in version {report.version} "
        f"after {report.seconds:.1f} s"
    )


def print_json(values: dict[str, Any]) -> None:
    """The outcome for programs, on stdout."""
    print(json.dumps(values))


def printable(text: str) -> str:
    """One line, whatever a file is called."""
    return text if text.isprintable() else text.encode("unicode_escape").decode("ascii")
