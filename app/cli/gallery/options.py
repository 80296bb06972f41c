"""Options that the commands of `sketchseek gallery` share, each written once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

GalleryOption = Annotated[Path, typer.Option(help="Folder of the gallery.", envvar="SKETCHSEEK_GALLERY")]
CheckpointOption = Annotated[
    str, typer.Option(help="Name of a bundled checkpoint, or a file.", envvar="SKETCHSEEK_CHECKPOINT")
]
DeviceOption = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.", envvar="SKETCHSEEK_DEVICE")]
DtypeOption = Annotated[str, typer.Option(help="auto, float32, bfloat16 or float16.", envvar="SKETCHSEEK_DTYPE")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print the outcome as JSON.")]
BatchOption = Annotated[int, typer.Option(min=1, help="Photos encoded at once.")]
CommitOption = Annotated[int, typer.Option("--commit", min=1, help="Photos per commit.")]
WorkersOption = Annotated[int | None, typer.Option(min=0, help="Threads that decode; default: one per core.")]
StrictOption = Annotated[bool, typer.Option("--strict", help="A skipped file is an error.")]
ContentsOption = Annotated[bool, typer.Option("--check-contents", help="Read every file, whatever its time says.")]
WaitOption = Annotated[float, typer.Option("--wait", min=0, help="Seconds to wait for another writer.")]
MovedOption = Annotated[bool, typer.Option("--moved", help="The photos' folder is at a new place.")]
DEFAULT_GALLERY = Path("gallery")
DEFAULT_CHECKPOINT = "zse-lite"
