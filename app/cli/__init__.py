"""The command line, one module per command.

Imports `app.search`, `app.setup`, `app.describe`, `index_builder`, `model`, `sketchseek_client`.

Each command lives in a module of its own, imported only when it is asked for, so that `sketchseek --help` needs neither
torch nor FAISS. To add a command, write `app/cli/NAME.py` with a function `command` (one command) or a `typer.Typer`
named `cli` (several), and add a line to `COMMANDS`.
"""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.util import find_spec
from typing import NamedTuple

import typer


class Command(NamedTuple):
    """Where a command lives and what it does, in a few words."""

    module: str
    help: str


COMMANDS: dict[str, Command] = {
    "serve": Command("app.cli.serve", "Serve a gallery over HTTP."),
    "gallery": Command("app.cli.gallery", "Build, add, remove, sync, verify: change and check a gallery."),
    "search": Command("app.cli.search", "Find photos by a sketch."),
    "explain": Command("app.cli.explain", "Show why a photo matches a sketch."),
    "train": Command("app.cli.train", "Train a network."),
    "describe": Command("app.cli.describe", "Have a language model describe categories, for training with text."),
    "evaluate": Command("app.cli.evaluate", "Measure a checkpoint on a dataset."),
    "convert": Command("app.cli.convert", "Convert a published ZSE-SBIR checkpoint."),
    "doctor": Command("app.cli.doctor", "Say what is wrong with this machine, and how to mend it."),
    "sample": Command("app.cli.sample", "Fetch the sample gallery's pictures."),
}


def build(wanted: str | None) -> typer.Typer:
    """The command line with the command `wanted` for real, and the others by name only."""
    root = typer.Typer(
        name="sketchseek",
        help="Draw it, find the photo.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
    )

    @root.callback()
    def options() -> None:
        """Draw it, find the photo."""

    for name, command in COMMANDS.items():
        if name == wanted:
            _mount(root, name, command)
        elif find_spec(command.module) is not None:
            root.command(name, help=command.help)(_named_only)
    return root


def main(arguments: list[str] | None = None) -> None:
    """Run the command line; an error that is the user's to mend is one line on stderr and exit code 1."""
    arguments = sys.argv[1:] if arguments is None else arguments
    wanted = next((argument for argument in arguments if not argument.startswith("-")), None)
    from model.errors import SketchseekError

    try:
        build(wanted)(arguments, prog_name="sketchseek")
    except SketchseekError as error:
        print(f"sketchseek: {error}", file=sys.stderr)
        raise SystemExit(1) from None
    except KeyboardInterrupt:
        raise SystemExit(130) from None


def _mount(root: typer.Typer, name: str, command: Command) -> None:
    if find_spec(command.module) is None:
        return
    module = import_module(command.module)
    single = getattr(module, "command", None)
    if single is not None:
        root.command(name, help=command.help)(single)
        return
    root.add_typer(module.cli, name=name, help=command.help)


def _named_only() -> None:
    """Stands for a command that was not asked for."""
