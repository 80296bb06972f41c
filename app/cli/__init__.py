"""The command line, one module per command.

Imports `app.search`, `app.setup`, `app.describe`, `index_builder`, `model`, `sketchseek_client`.

Each command lives in its own module. The module is imported only when its command is asked for, so that
`sketchseek --help` needs neither torch nor FAISS. To add a command, write `app/cli/NAME.py` with a function `command`
(one command) or a `typer.Typer` named `cli` (several), and add a line to `COMMANDS`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from typing import Annotated, NamedTuple

import typer

from app.version import version

_OF_UNIX = ("fcntl", "resource")  # modules that Python has on Unix alone; what builds and serves rests on their system


class Command(NamedTuple):
    """Where a command lives, and its line in `sketchseek --help`. Its own help is the docstring of its function."""

    module: str
    help: str


COMMANDS: dict[str, Command] = {
    "serve": Command("app.cli.serve", "Serve a gallery over HTTP."),
    "gallery": Command("app.cli.gallery", "Build, change and check a gallery."),
    "search": Command("app.cli.search", "Find photos by a sketch."),
    "explain": Command("app.cli.explain", "Show why a photo matches a sketch."),
    "train": Command("app.cli.train", "Train a network."),
    "describe": Command("app.cli.describe", "Have a language model describe categories, for training with text."),
    "evaluate": Command("app.cli.evaluate", "Measure a checkpoint on a dataset."),
    "convert": Command("app.cli.convert", "Convert a published ZSE-SBIR checkpoint."),
    "doctor": Command("app.cli.doctor", "Find what is wrong with this machine, and how to fix it."),
    "sample": Command("app.cli.sample", "Fetch the sample gallery's pictures."),
}


def build(wanted: str | None) -> typer.Typer:
    """The command line. Only the command `wanted` is imported; the others are there by name and help."""
    root = typer.Typer(
        name="sketchseek",
        help="Draw it, find the photo.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
    )

    @root.callback()
    def options(
        *,
        version: Annotated[
            bool, typer.Option("--version", help="Print the version and exit.", is_eager=True, callback=_print_version)
        ] = False,
    ) -> None:
        """Draw it, find the photo."""

    for name, command in COMMANDS.items():
        if name == wanted:
            _mount(root, name, command)
        else:
            root.command(name, help=command.help)(_named_only)
    return root


def main(arguments: list[str] | None = None) -> None:
    """Run the command line with `arguments`, by default those of the process."""
    arguments = sys.argv[1:] if arguments is None else arguments
    wanted = next((argument for argument in arguments if not argument.startswith("-")), None)
    run(lambda: build(wanted), "sketchseek", arguments)


def run(make: Callable[[], typer.Typer], program: str, arguments: list[str] | None = None) -> None:
    """Run what `make` builds. An error that the user can fix is one line on stderr and exit code 1."""
    if missing := [name for name in _OF_UNIX if find_spec(name) is None]:
        print(
            f"sketchseek: this system has no {missing[0]}; Sketchseek runs on Linux and macOS. On Windows, use its "
            "container (docker compose up) or WSL.",
            file=sys.stderr,
        )
        raise SystemExit(1)
    from model.errors import SketchseekError

    try:
        make()(arguments, prog_name=program)
    except SketchseekError as error:
        print(f"sketchseek: {error}", file=sys.stderr)
        raise SystemExit(1) from None
    except KeyboardInterrupt:
        raise SystemExit(130) from None


def _mount(root: typer.Typer, name: str, command: Command) -> None:
    module = import_module(command.module)
    single = getattr(module, "command", None)
    if single is not None:
        root.command(name)(single)
    else:
        root.add_typer(module.cli, name=name, help=command.help)


def _named_only() -> None:
    """Stands for a command that was not asked for."""


def _print_version(asked: bool) -> None:
    if asked:
        print(f"sketchseek {version()}")
        raise typer.Exit
