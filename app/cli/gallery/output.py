"""What the commands of `sketchseek gallery` print: progress on stderr, reports on stdout."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from model.errors import ConfigurationError

if TYPE_CHECKING:
    from index_builder.ingest.build_report import BuildReport, OnProgress
    from index_builder.scanning.passed_over import ReasonCount, Report


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
        print_json(report.values())
        return
    for tally, word in ((report.skipped, "skipped"), (report.excluded, "excluded")):
        for one in tally.reasons():
            print(printable(_reason_line(word, one)))
    for held in report.held:
        where = f"the folder {printable(held.place)}" if held.place else "the folder"
        what = "mount it, or run `sketchseek gallery sync --accept-loss` if they are gone"
        print(f"held {held.photos} photos: {where} {held.reason}; {what}")
    print(
        f"{report.added} added, {report.changed} changed, {report.moved} moved, {report.removed} removed, "
        f"{report.unchanged} unchanged, {len(report.skipped)} skipped, {len(report.excluded)} excluded; "
        f"{report.photos} photos in version {report.version} after {report.seconds:.1f} s"
    )


def _reason_line(word: str, one: ReasonCount) -> str:
    """One reason: the file alone, or how many there are with the first few."""
    if one.count == 1:
        return f"{word} {one.first[0]}: {one.reason}"
    if one.endings:
        return f"{word} {one.count}, {one.reason}: {', '.join(f'{n} {e}' for e, n in one.endings.most_common())}"
    return f"{word} {one.count}, {one.reason}: {', '.join(one.first)}{', ...' if one.count > len(one.first) else ''}"


@contextmanager
def listed(path: Path | None) -> Iterator[Report | None]:
    """Takes what is passed over and writes each as a line of JSON into a file; None without a path.

    Raises:
        ConfigurationError: the file cannot be written.
    """
    if path is None:
        yield None
        return
    try:
        file = path.open("w", encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(f"cannot write {path}: {error.strerror}; name another file") from None
    with file:
        yield lambda one: print(json.dumps({"path": one.path, "reason": one.reason, "kind": one.kind.value}), file=file)


def print_json(values: dict[str, Any]) -> None:
    """The outcome for programs, on stdout."""
    print(json.dumps(values))


def printable(text: str) -> str:
    """One line, whatever a file is called."""
    return text if text.isprintable() else text.encode("unicode_escape").decode("ascii")
