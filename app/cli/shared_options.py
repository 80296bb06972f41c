"""Options that several commands share, each written once; what a single command has stays with it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from typer.models import OptionInfo


def in_data(text: str) -> OptionInfo:
    """An option of the panel "Data", which has no default to show."""
    option: OptionInfo = typer.Option(help=text, show_default=False, rich_help_panel="Data")
    return option


GalleryOption = Annotated[Path | None, typer.Option(help="Folder of the gallery; default SKETCHSEEK_GALLERY.")]
CheckpointOption = Annotated[str | None, typer.Option(help="Name or path of the checkpoint.")]
RecallOption = Annotated[
    str | None,
    typer.Option(
        help="How candidates are found: auto, flat, ivf or hash. Default SKETCHSEEK_RECALL.", show_default=False
    ),
]
DeviceOption = Annotated[str | None, typer.Option(help="auto, cpu, cuda or cuda:N.")]
SketchArgument = Annotated[Path, typer.Argument(help="A picture of a sketch.")]
FileListsOption = Annotated[
    Path | None, in_data("Instead: folder with the published file lists (Sketchy/, TUBerlin/ or QuickDraw/).")
]
SplitOption = Annotated[
    str,
    typer.Option(
        help="Split of the file lists: sketchy-25, sketchy-21, tu-berlin-30 or quickdraw-30. Training takes its "
        "training part, evaluation its test part.",
        rich_help_panel="Data",
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print the outcome as JSON.")]
