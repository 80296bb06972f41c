"""The command line in processes of their own. One process has imported everything, so its forks begin in an instant."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from multiprocessing.context import ForkServerContext
from pathlib import Path

_PRELOADED = ["app.main", "app.server", "tests.fault.jobs"]


def fork_context() -> ForkServerContext:
    """Of the one fork server that a process of pytest has."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_PRELOADED)
    return context


class Command:
    """A command of `sketchseek` that runs.

    Args:
        arguments: of the command line.
        environment: variables, beside those of this process other than our own settings.
        output: file that takes what it writes to stdout.
        errors: the same for stderr.
    """

    def __init__(self, arguments: Sequence[str], environment: Mapping[str, str], *, output: Path, errors: Path) -> None:
        variables = {name: value for name, value in os.environ.items() if not name.startswith("SKETCHSEEK_")}
        self._process = fork_context().Process(
            target=_run, args=(list(arguments), {**variables, **environment}, output, errors)
        )
        self._process.start()

    def poll(self) -> int | None:
        """Its exit code, or None while it runs."""
        return self._process.exitcode

    def wait(self, seconds: float | None = None) -> int | None:
        """Its exit code; None if it still runs after so many seconds."""
        self._process.join(seconds)
        return self._process.exitcode

    def send_signal(self, number: int) -> None:
        """To the process, unless it has ended."""
        if self._process.exitcode is None and self._process.pid is not None:
            os.kill(self._process.pid, number)

    def end(self) -> None:
        """Kill what still runs."""
        self.send_signal(signal.SIGKILL)
        self._process.join()


def _run(arguments: list[str], environment: dict[str, str], output: Path, errors: Path) -> None:
    os.environ.clear()
    os.environ.update(environment)
    for path, number in ((output, 1), (errors, 2)):
        with path.open("ab", buffering=0) as file:
            os.dup2(file.fileno(), number)
    sys.stdout = os.fdopen(1, "w", buffering=1, closefd=False)  # each line as soon as it is there
    sys.argv = ["sketchseek", *arguments]
    from app.cli import main

    main()
