"""Options that several commands share, each written once. Options of a single command stay with it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any, get_args

import typer
from typer.models import OptionInfo

from index_builder.index.settings import Choice

DEFAULT_GALLERY = "gallery"
DEFAULT_CHECKPOINT = "zse-lite"
DEFAULT_SPLIT = "sketchy-25"


def in_data(text: str) -> OptionInfo:
    """An option of the panel "Data", without a default in its help."""
    option: OptionInfo = typer.Option(help=text, show_default=False, rich_help_panel="Data")
    return option


def one_of(words: Any) -> str:
    """The words of a Literal, for a help text."""
    *first, last = get_args(words)
    return f"{', '.join(first)} or {last}"


GalleryOption = Annotated[
    str,
    typer.Option(
        help="Folder of the gallery, or its address in a bucket: s3://, gs:// or az://.",
        envvar="SKETCHSEEK_GALLERY",
        metavar="PLACE",
    ),
]
CheckpointOption = Annotated[
    str, typer.Option(help="Name of a bundled checkpoint, or a file.", envvar="SKETCHSEEK_CHECKPOINT")
]
DeviceOption = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.", envvar="SKETCHSEEK_DEVICE")]
RecallOption = Annotated[
    str, typer.Option(help=f"How candidates are found: {one_of(Choice)}.", envvar="SKETCHSEEK_RECALL")
]
ExcludeOption = Annotated[
    list[str] | None,
    typer.Option(
        help="Leave out files and folders, in the syntax of gitignore; may be repeated. The gallery remembers it, and "
        "'' forgets. [env var: SKETCHSEEK_EXCLUDE, with commas]",
        metavar="PATTERN",
        show_default=False,
    ),
]
LinksOption = Annotated[
    list[str] | None,
    typer.Option(
        "--follow-links-to",
        help="A folder elsewhere that links in the photos' folder may lead to; may be repeated. The gallery remembers "
        "it, and '' forgets. [env var: SKETCHSEEK_FOLLOW_LINKS_TO, with colons]",
        metavar="FOLDER",
        show_default=False,
    ),
]
SketchArgument = Annotated[Path, typer.Argument(help="A picture of a sketch.")]
FileListsOption = Annotated[
    Path | None, in_data("Instead: folder with the published file lists (Sketchy/, TUBerlin/ or QuickDraw/).")
]
SplitOption = Annotated[
    str,
    typer.Option(
        help="Split of the file lists: sketchy-25, sketchy-21, tu-berlin-30 or quickdraw-30. Training uses its "
        "training part, evaluation its test part.",
        rich_help_panel="Data",
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print the outcome as JSON.")]


def excluded_patterns(exclude: list[str] | None) -> tuple[str, ...] | None:
    """The patterns of `--exclude` or of its variable: None without any, () to forget what the gallery remembers.

    Typer would split the variable at blanks, which names of folders have.
    """
    from index_builder.scanning.exclusions import patterns_of

    if exclude:
        return tuple(pattern for pattern in exclude if pattern.strip())
    variable = os.environ.get("SKETCHSEEK_EXCLUDE")
    return patterns_of(variable) if variable else None


def linked_folders(named: list[str] | None) -> tuple[Path, ...] | None:
    """The folders of `--follow-links-to` or of its variable: None without any, () to forget what is remembered."""
    from index_builder.photo_places import linked_folders_of

    variable = os.environ.get("SKETCHSEEK_FOLLOW_LINKS_TO")
    return linked_folders_of(named) if named else linked_folders_of(variable) if variable else None
